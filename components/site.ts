import * as remote from "@pulumi/command/remote/index.js";
import * as pulumi from "@pulumi/pulumi";
import { buildManifest, type SiteSurroundings } from "../lib/manifest.ts";
import { artifactKey, immutablePrefix, versionMarkerKey } from "../lib/names.ts";
import type { Release } from "../lib/release.ts";
import type { SiteFile } from "../lib/site-file.ts";
import { localScript } from "./local-script.ts";
import type { Server } from "./server.ts";
import type { Storage } from "./storage.ts";

export interface SiteArgs {
  readonly site: SiteFile;
  /** Built and checked. */
  readonly release: Release;
  readonly surroundings: pulumi.Input<SiteSurroundings>;
  readonly storage: Storage;
  readonly server: Server;
}

/**
 * A website: its artifact and its immutable files in the buckets, then one command that has the server install it.
 * Taking the site out of the stack removes it from the server; its data stays there.
 */
export class Site extends pulumi.ComponentResource {
  constructor(name: string, args: SiteArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Site", name, {}, opts);
    const uploads = [this.#uploadArtifact(name, args), this.#uploadImmutable(name, args)];
    this.#install(name, args, uploads);
    this.registerOutputs({ version: pulumi.secret(args.release.version) });
  }

  #uploadArtifact(name: string, { site, release, storage }: SiteArgs): pulumi.Resource {
    const bucket = storage.artifactBucket;
    return localScript(
      `${name}-artifact`,
      {
        create: ["local-commands/put-object.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: {
          spaces: storage.uploads(bucket.name),
          object: { key: artifactKey(site.slug, release.artifactSha256), path: release.artifactPath, acl: "private" },
          prefixes: [`sites/${site.slug}/`],
        },
      },
      { parent: this, ...storage.deletedWith(bucket) },
    ).command;
  }

  #uploadImmutable(name: string, { site, release, storage }: SiteArgs): pulumi.Resource {
    const bucket = storage.immutableBucket;
    const trees = release.immutable.map(({ service, hash, folder, digest }) => {
      return { folder, digest, prefix: immutablePrefix(site.slug, service, hash) };
    });
    return localScript(
      `${name}-immutable`,
      {
        create: ["local-commands/put-tree.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: {
          spaces: storage.uploads(bucket.name),
          trees,
          marker: { key: versionMarkerKey(site.slug, release.version), text: `${release.version}\n` },
          prefixes: [`${site.slug}/`],
        },
      },
      { parent: this, ...storage.deletedWith(bucket) },
    ).command;
  }

  #install(name: string, args: SiteArgs, uploads: pulumi.Resource[]): void {
    const { site, release, server } = args;
    // Who deploys is asked when the release changes, not at each run: the name of a laptop may change, and that is no change of a site.
    const deployer = localScript<{ by: string }>(
      `${name}-deployer`,
      {
        create: ["local-commands/name-deployer.ts"],
        input: { version: release.version, digest: release.artifactDigest },
      },
      { parent: this },
    );
    const manifest = pulumi
      .all([args.surroundings, server.droplet.id, deployer.result])
      .apply(([surroundings, dropletId, { by }]) =>
        buildManifest({ site, release, surroundings, server: dropletId, by, reason: "pulumi up" }),
      );
    new remote.Command(
      `${name}-install`,
      {
        connection: server.connection,
        create: "doas chillbox-site install",
        delete: "doas chillbox-site remove",
        stdin: pulumi.secret(pulumi.jsonStringify(manifest)),
        logging: "none",
        addPreviousOutputInEnv: false,
        // No triggers: they would run the old delete after the new create.
      },
      { parent: this, dependsOn: [server.configured, ...uploads], deletedWith: server.droplet },
    );
  }
}
