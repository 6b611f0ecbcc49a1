import { CustomImage } from "@pulumi/digitalocean/customImage.js";
import * as pulumi from "@pulumi/pulumi";
import { imageDigest } from "../image/digest.ts";
import { sha256 } from "../lib/archive.ts";
import { objectUrl } from "../lib/names.ts";
import { localScript } from "./local-script.ts";
import type { Storage } from "./storage.ts";

export interface ImageArgs {
  /** What the image's name starts with. */
  readonly resourceName: string;
  readonly region: string;
  /** URL of Spaces in the region. */
  readonly endpoint: string;
  readonly storage: Storage;
}

/**
 * The server's disk image as a custom image of the account: built on the laptop (once for the same files in `image/`), uploaded,
 * imported, the upload removed.
 *
 * The import reads a public address, so the upload has a name that nobody can guess. The image holds no secret all the same.
 */
export class Image extends pulumi.ComponentResource {
  /** Id of the custom image, as droplets take it. */
  readonly imageId: pulumi.Output<string>;

  constructor(name: string, args: ImageArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Image", name, {}, opts);
    const child = { parent: this };
    const digest = imageDigest();
    const bucket = args.storage.artifactBucket;

    const build = localScript(
      `${name}-build`,
      { create: ["local-commands/build-image.ts"], input: { digest }, showsProgress: true },
      child,
    );
    const random = localScript<{ hex: string }>(
      `${name}-upload-name`,
      { create: ["local-commands/make-random.ts"], input: { bytes: 16 }, once: true },
      child,
    );
    const key = random.result.apply(({ hex }) => uploadKey(hex, digest));
    const spaces = args.storage.uploads(bucket.name);
    const upload = localScript<{ at: string }>(
      `${name}-upload`,
      {
        create: ["local-commands/put-image.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: { digest, spaces, key, prefixes: [key] },
        showsProgress: true,
      },
      { ...child, dependsOn: [build.command], ...args.storage.deletedWith(bucket) },
    );
    const image = new CustomImage(
      name,
      {
        name: `${args.resourceName}-${digest.slice(0, 12)}`,
        url: pulumi.all([bucket.name, key]).apply(([bucketName, path]) => objectUrl(bucketName, path, args.endpoint)),
        regions: [args.region],
        // Alpine is not in the provider's list, and the API would turn another name into this one.
        distribution: "Unknown",
      },
      // Deleting first would have the engine replace what was made from the image, ignored changes or not.
      { ...child, dependsOn: [upload.command], deleteBeforeReplace: false },
    );
    localScript(
      `${name}-upload-removal`,
      {
        create: ["local-commands/remove-objects.ts"],
        input: { spaces, prefixes: [key], uploadedAt: upload.result.at },
      },
      { ...child, dependsOn: [image] },
    );

    this.imageId = pulumi.secret(pulumi.interpolate`${image.imageId}`);
    this.registerOutputs({ imageId: this.imageId });
  }
}

/**
 * Nobody who does not know the random part can guess it, and it is another for another image. The address must end in the file's name:
 * DigitalOcean looks at the ending.
 */
function uploadKey(random: string, digest: string): string {
  return `import/${sha256(random + digest).slice(0, 32)}.qcow2.gz`;
}
