import { isDeepStrictEqual } from "node:util";
import type { CORSRule, LifecycleRule } from "@aws-sdk/client-s3";
import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Cloud } from "../plugin.ts";
import { attempt, defaultRegion, errorCode, type SpacesRegion, spacesRegions } from "../spaces.ts";
import { waitFor } from "../wait.ts";

/** A bucket of Spaces. */
export function spacesBucketKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      defaults: { acl: "private", forceDestroy: false, region: defaultRegion },
      allowed: { acl: ["private", "public-read"], region: spacesRegions },
      computed: ["versioning"],
    },
    async create(inputs, call) {
      const name = String(inputs.name);
      const region = await cloud.spaces.region(inputs.region);
      const { sdk, s3 } = region;
      const acl = inputs.acl as "private";
      await attempt(`make bucket ${name}`, s3.send(new sdk.CreateBucketCommand({ Bucket: name, ACL: acl })));
      await waitFor(`bucket ${name}`, call.signal, 5, async () => ((await exists(region, name)) ? true : undefined));
      await configure(region, name, {}, inputs);
      return { id: name, outputs: await readBucket(region, name, inputs) };
    },
    async read(id, state) {
      const region = await cloud.spaces.region(state.region);
      return (await exists(region, id)) ? readBucket(region, id, state) : undefined;
    },
    async update(id, state, inputs) {
      const region = await cloud.spaces.region(inputs.region);
      await configure(region, id, state, inputs);
      // The name is not a reason to replace a bucket, here as with the official plugin: the state follows, the bucket does not.
      return { ...(await readBucket(region, id, inputs)), name: inputs.name };
    },
    async delete(id, state) {
      await deleteBucket(await cloud.spaces.region(state.region), id, state.forceDestroy === true);
    },
  };
}

async function exists({ sdk, s3 }: SpacesRegion, name: string): Promise<boolean> {
  try {
    await s3.send(new sdk.HeadBucketCommand({ Bucket: name }));
    return true;
  } catch (error) {
    if (errorCode(error) === "NotFound") {
      return false;
    }
    const status = (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode;
    const hint = status === 301 ? "it is in another region" : status === 403 ? "forbidden" : String(error);
    throw new Error(`cannot look at bucket ${name}: ${hint}`);
  }
}

/** Sets what differs from the state: ACL, CORS, versioning, life cycle. */
async function configure(
  { sdk, s3 }: SpacesRegion,
  name: string,
  state: Properties,
  inputs: Properties,
): Promise<void> {
  const changed = (key: string): boolean => !isDeepStrictEqual(state[key], inputs[key]);
  const bucket = { Bucket: name };
  if (changed("acl")) {
    await attempt(
      `set the ACL of bucket ${name}`,
      s3.send(new sdk.PutBucketAclCommand({ ...bucket, ACL: inputs.acl as "private" })),
    );
  }
  if (changed("corsRules")) {
    const rules = inputs.corsRules as Properties[] | undefined;
    const command = rules?.length
      ? s3.send(new sdk.PutBucketCorsCommand({ ...bucket, CORSConfiguration: { CORSRules: rules.map(corsRule) } }))
      : s3.send(new sdk.DeleteBucketCorsCommand(bucket));
    await attempt<unknown>(`set the CORS rules of bucket ${name}`, command);
  }
  const versioning = inputs.versioning as { enabled?: boolean } | undefined;
  if (versioning !== undefined && changed("versioning")) {
    const Status = versioning.enabled ? "Enabled" : "Suspended";
    const command = new sdk.PutBucketVersioningCommand({ ...bucket, VersioningConfiguration: { Status } });
    await attempt(`set the versioning of bucket ${name}`, s3.send(command));
  }
  if (changed("lifecycleRules")) {
    const rules = inputs.lifecycleRules as Properties[] | undefined;
    const command = rules?.length
      ? s3.send(
          new sdk.PutBucketLifecycleConfigurationCommand({
            ...bucket,
            LifecycleConfiguration: { Rules: rules.map(lifecycleRule) },
          }),
        )
      : s3.send(new sdk.DeleteBucketLifecycleCommand(bucket));
    await attempt<unknown>(`set the life cycle of bucket ${name}`, command);
  }
}

function corsRule(rule: Properties): CORSRule {
  return {
    AllowedHeaders: rule.allowedHeaders as string[] | undefined,
    AllowedMethods: rule.allowedMethods as string[],
    AllowedOrigins: rule.allowedOrigins as string[],
    MaxAgeSeconds: rule.maxAgeSeconds as number | undefined,
  };
}

function lifecycleRule(rule: Properties): LifecycleRule {
  const expiration = rule.expiration as Properties | undefined;
  const noncurrent = rule.noncurrentVersionExpiration as { days?: number } | undefined;
  const abortDays = rule.abortIncompleteMultipartUploadDays as number | undefined;
  return {
    ID: rule.id as string | undefined,
    Filter: { Prefix: (rule.prefix as string | undefined) ?? "" },
    Status: rule.enabled ? "Enabled" : "Disabled",
    ...(expiration && {
      Expiration: {
        Days: expiration.days as number | undefined,
        Date: typeof expiration.date === "string" ? new Date(expiration.date) : undefined,
        ExpiredObjectDeleteMarker: expiration.expiredObjectDeleteMarker as boolean | undefined,
      },
    }),
    ...(noncurrent && { NoncurrentVersionExpiration: { NoncurrentDays: noncurrent.days } }),
    ...(abortDays && { AbortIncompleteMultipartUpload: { DaysAfterInitiation: abortDays } }),
  };
}

function readRule(rule: LifecycleRule): Properties {
  const { Expiration: expiration, NoncurrentVersionExpiration: noncurrent } = rule;
  return {
    id: rule.ID,
    prefix: rule.Filter?.Prefix || undefined,
    enabled: rule.Status === "Enabled",
    abortIncompleteMultipartUploadDays: rule.AbortIncompleteMultipartUpload?.DaysAfterInitiation,
    expiration: expiration && {
      days: expiration.Days,
      date: expiration.Date?.toISOString().slice(0, 10),
      expiredObjectDeleteMarker: expiration.ExpiredObjectDeleteMarker,
    },
    noncurrentVersionExpiration: noncurrent && { days: noncurrent.NoncurrentDays },
  };
}

/** Outputs of a bucket. ACL and CORS rules are never read: they come from `known`. */
async function readBucket(region: SpacesRegion, name: string, known: Properties): Promise<Properties> {
  const { sdk, s3, byPath } = region;
  const bucket = { Bucket: name };
  const [location, versioning, lifecycle] = await Promise.all([
    attempt(`find the region of bucket ${name}`, byPath.send(new sdk.GetBucketLocationCommand(bucket))),
    attempt(`read the versioning of bucket ${name}`, s3.send(new sdk.GetBucketVersioningCommand(bucket))),
    s3.send(new sdk.GetBucketLifecycleConfigurationCommand(bucket)).catch((error: unknown) => {
      if (errorCode(error) === "NoSuchLifecycleConfiguration") {
        return undefined;
      }
      throw error;
    }),
  ]);
  const slug = location.LocationConstraint || (known.region as string | undefined) || defaultRegion;
  return {
    ...Object.fromEntries(["acl", "corsRules", "forceDestroy"].map((key) => [key, known[key]])),
    name,
    region: slug,
    // The official plugin gives the real service's names, whatever the endpoint.
    bucketDomainName: `${name}.${slug}.digitaloceanspaces.com`,
    endpoint: `${slug}.digitaloceanspaces.com`,
    bucketUrn: `do:space:${name}`,
    versioning: { enabled: versioning.Status === "Enabled" },
    lifecycleRules: lifecycle?.Rules?.length ? lifecycle.Rules.map(readRule) : undefined,
  };
}

/** Deletes a bucket; one with objects only when it may be emptied. */
async function deleteBucket({ sdk, s3 }: SpacesRegion, name: string, force: boolean): Promise<void> {
  for (;;) {
    try {
      await s3.send(new sdk.DeleteBucketCommand({ Bucket: name }));
      return;
    } catch (error) {
      if (errorCode(error) !== "BucketNotEmpty") {
        throw new Error(`cannot delete bucket ${name}: ${error instanceof Error ? error.message : error}`);
      }
      if (!force) {
        throw new Error(`cannot delete bucket ${name}: it is not empty (set forceDestroy to delete what is in it)`);
      }
    }
    const page = await s3.send(new sdk.ListObjectVersionsCommand({ Bucket: name }));
    const versions = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
    const objects = versions.map(({ Key, VersionId }) => ({ Key, VersionId }));
    if (objects.length === 0) {
      throw new Error(`cannot delete bucket ${name}: it is said not to be empty, but lists no object`);
    }
    const deletion = new sdk.DeleteObjectsCommand({ Bucket: name, Delete: { Objects: objects, Quiet: true } });
    const { Errors: errors } = await attempt(`empty bucket ${name}`, s3.send(deletion));
    if (errors?.length) {
      throw new Error(`cannot empty bucket ${name}: ${errors[0]?.Key}: ${errors[0]?.Message}`);
    }
  }
}
