import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import type { ObjectCannedACL } from "@aws-sdk/client-s3";
import type { CheckFailure } from "../../plugin/check.ts";
import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Cloud } from "../plugin.ts";
import { attempt, errorCode, type SpacesRegion, spacesRegions } from "../spaces.ts";

const bodyKeys = ["source", "content", "contentBase64"] as const;
const headerKeys = [
  "cacheControl",
  "contentDisposition",
  "contentEncoding",
  "contentLanguage",
  "contentType",
  "metadata",
  "websiteRedirect",
];

/** An object in a bucket, from a file, a text or Base64. */
export function spacesBucketObjectKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      defaults: { acl: "private", forceDestroy: false },
      allowed: { acl: ["private", "public-read"], region: spacesRegions },
      computed: ["contentType", "etag"],
      volatile: ["versionId", "etag"],
    },
    check: bodyFaults,
    async create(inputs) {
      const region = await cloud.spaces.region(inputs.region);
      await put(region, inputs);
      return { id: String(inputs.key), outputs: (await readObject(region, inputs)) ?? {} };
    },
    async read(_id, state) {
      return readObject(await cloud.spaces.region(state.region), state);
    },
    async update(_id, state, inputs) {
      const region = await cloud.spaces.region(inputs.region);
      const changed = (key: string): boolean => !isDeepStrictEqual(state[key], inputs[key]);
      if ([...bodyKeys, ...headerKeys, "etag"].some((key) => inputs[key] !== undefined && changed(key))) {
        await put(region, inputs);
      } else if (changed("acl")) {
        const { sdk, s3 } = region;
        const command = new sdk.PutObjectAclCommand({ ...place(inputs), ACL: inputs.acl as ObjectCannedACL });
        await attempt(`set the ACL of ${inputs.bucket}/${inputs.key}`, s3.send(command));
      }
      return (await readObject(region, inputs)) ?? {};
    },
    async delete(_id, state) {
      await deleteObject(await cloud.spaces.region(state.region), state);
    },
  };
}

function place({ bucket, key }: Properties): { Bucket: string; Key: string } {
  return { Bucket: String(bucket), Key: String(key) };
}

function bodyFaults(inputs: Properties): CheckFailure[] {
  const given = bodyKeys.filter((key) => inputs[key] !== undefined);
  const reason = `give one of ${bodyKeys.join(", ")}, not ${given.join(" and ")}`;
  return given.length > 1 ? [{ property: given[1] ?? "", reason }] : [];
}

async function body({ source, content, contentBase64 }: Properties): Promise<Buffer> {
  if (typeof source === "string") {
    return readFile(source);
  }
  return typeof contentBase64 === "string" ? Buffer.from(contentBase64, "base64") : Buffer.from(String(content ?? ""));
}

async function put({ sdk, s3 }: SpacesRegion, inputs: Properties): Promise<void> {
  const bytes = await body(inputs);
  const text = (key: string): string | undefined => inputs[key] as string | undefined;
  const command = new sdk.PutObjectCommand({
    ...place(inputs),
    Body: bytes,
    ContentMD5: createHash("md5").update(bytes).digest("base64"),
    ACL: inputs.acl as ObjectCannedACL,
    CacheControl: text("cacheControl"),
    ContentDisposition: text("contentDisposition"),
    ContentEncoding: text("contentEncoding"),
    ContentLanguage: text("contentLanguage"),
    ContentType: text("contentType"),
    Metadata: inputs.metadata as Record<string, string> | undefined,
    WebsiteRedirectLocation: text("websiteRedirect"),
  });
  await attempt(`put ${inputs.bucket}/${inputs.key}`, s3.send(command));
}

async function readObject({ sdk, s3 }: SpacesRegion, known: Properties): Promise<Properties | undefined> {
  try {
    const head = await s3.send(new sdk.HeadObjectCommand(place(known)));
    return {
      ...known,
      cacheControl: head.CacheControl,
      contentDisposition: head.ContentDisposition,
      contentEncoding: head.ContentEncoding,
      contentLanguage: head.ContentLanguage,
      contentType: head.ContentType,
      etag: head.ETag?.replaceAll('"', ""),
      versionId: head.VersionId ?? "",
      websiteRedirect: head.WebsiteRedirectLocation,
      metadata: Object.keys(head.Metadata ?? {}).length > 0 ? head.Metadata : undefined,
    };
  } catch (error) {
    if (errorCode(error) === "NotFound") {
      return undefined;
    }
    throw new Error(`cannot look at ${known.bucket}/${known.key}: ${error instanceof Error ? error.name : error}`);
  }
}

async function deleteObject({ sdk, s3 }: SpacesRegion, state: Properties): Promise<void> {
  try {
    await s3.send(new sdk.DeleteObjectCommand(place(state)));
    if (state.versionId) {
      const { Bucket, Key } = place(state);
      const page = await s3.send(new sdk.ListObjectVersionsCommand({ Bucket, Prefix: Key }));
      const versions = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
      for (const { VersionId } of versions.filter((version) => version.Key === Key)) {
        await s3.send(new sdk.DeleteObjectCommand({ Bucket, Key, VersionId }));
      }
    }
  } catch (error) {
    if (!["NoSuchBucket", "NoSuchKey"].includes(errorCode(error))) {
      throw new Error(`cannot delete ${state.bucket}/${state.key}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
