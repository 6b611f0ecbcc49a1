import { SpacesBucket } from "@pulumi/digitalocean/spacesBucket.js";
import { SpacesKey } from "@pulumi/digitalocean/spacesKey.js";
import * as pulumi from "@pulumi/pulumi";
import { bucketNames } from "../lib/names.ts";
import type { Buckets, SpacesAccess } from "../lib/upload.ts";
import type { SpacesTarget } from "../local-commands/spaces.ts";
import { localScript } from "./local-script.ts";

export interface StorageArgs {
  /** What the buckets' names start with. */
  readonly resourceName: string;
  readonly region: string;
  /** URL of Spaces in the region: never taken from the provider, which always says digitaloceanspaces.com. */
  readonly endpoint: string;
  /** Whether buckets are removed with what is in them. */
  readonly forceDestroy: boolean;
  /** Whether Pulumi refuses to remove the buckets. */
  readonly protect: boolean;
}

/** A Spaces key as the API hands it out. */
interface SpacesCredentials {
  readonly accessKey: pulumi.Output<string>;
  readonly secretKey: pulumi.Output<string>;
}

/**
 * Two buckets and a key for each who uses them: the server reads artifacts, the laptop writes both.
 *
 * - `<...>-immutable`: files that browsers may keep for ever, each readable by everybody.
 * - `<...>-artifacts`: what the server installs from, private.
 */
export class Storage extends pulumi.ComponentResource {
  readonly immutableBucket: SpacesBucket;
  readonly artifactBucket: SpacesBucket;
  /** For downloads by the server: reads the artifact bucket, nothing else. */
  readonly downloads: pulumi.Output<SpacesAccess>;
  /** For uploads from the laptop, with the bucket still to be named. */
  readonly uploads: (bucket: pulumi.Output<string>) => pulumi.Output<SpacesTarget>;
  /** The same for both buckets. */
  readonly buckets: pulumi.Output<Buckets>;
  /** Set where the buckets go with all that is in them: then nobody needs to remove files one by one. */
  readonly deletedWith: (bucket: SpacesBucket) => { deletedWith?: SpacesBucket };

  constructor(name: string, args: StorageArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Storage", name, {}, opts);
    const child = { parent: this };

    const random = localScript<{ hex: string }>(
      `${name}-suffix`,
      { create: ["local-commands/make-random.ts"], input: { bytes: 4 }, once: true },
      child,
    );
    const names = random.result.apply(({ hex }) => bucketNames(args.resourceName, hex));
    const bucket = (use: "immutable" | "artifacts") =>
      new SpacesBucket(
        `${name}-${use}`,
        // Private also for the public files: each of them says so itself, and nobody can list them.
        {
          name: names.apply((both) => both[use]),
          region: args.region,
          acl: "private",
          forceDestroy: args.forceDestroy,
        },
        // The provider would take a new name for a mere change.
        { ...child, replaceOnChanges: ["name"], protect: args.protect },
      );
    this.immutableBucket = bucket("immutable");
    this.artifactBucket = bucket("artifacts");

    const { endpoint, region } = args;
    const downloadKey = this.#makeKey(`${name}-download-key`, `${args.resourceName}-download`, [
      [this.artifactBucket, "read"],
    ]);
    this.downloads = pulumi.output({ endpoint, region, ...downloadKey });
    const uploadKey = this.#makeKey(`${name}-upload-key`, `${args.resourceName}-upload`, [
      [this.immutableBucket, "readwrite"],
      [this.artifactBucket, "readwrite"],
    ]);
    this.uploads = (bucketName) => pulumi.output({ endpoint, region, bucket: bucketName, ...uploadKey });
    this.deletedWith = (ofBucket) => (args.forceDestroy ? { deletedWith: ofBucket } : {});
    this.buckets = pulumi.output({
      endpoint,
      region,
      artifactBucket: this.artifactBucket.name,
      immutableBucket: this.immutableBucket.name,
      ...uploadKey,
    });
    this.registerOutputs({
      immutableBucket: pulumi.secret(this.immutableBucket.name),
      artifactBucket: pulumi.secret(this.artifactBucket.name),
    });
  }

  #makeKey(name: string, keyName: string, grants: readonly [SpacesBucket, "read" | "readwrite"][]): SpacesCredentials {
    const key = new SpacesKey(
      name,
      { name: keyName, grants: grants.map(([bucket, permission]) => ({ bucket: bucket.name, permission })) },
      { parent: this },
    );
    return { accessKey: pulumi.secret(key.accessKey), secretKey: pulumi.secret(key.secretKey) };
  }
}
