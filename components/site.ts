import * as remote from "@pulumi/command/remote/index.js";
import * as pulumi from "@pulumi/pulumi";
import { buildManifest, type SiteSurroundings } from "../lib/manifest.ts";
import { immutablePrefix, versionMarkerKey } from "../lib/names.ts";
import type { Release } from "../lib/release.ts";
import { pipServices } from "../lib/service-wheels.ts";
import type { SiteFile } from "../lib/site-file.ts";
import type { SecretsFile } from "../lib/site-secrets.ts";
import type { Artifact } from "../local-commands/put-artifact.ts";
import { type LocalScript, localScript } from "./local-script.ts";
import { type Server, serverPython } from "./server.ts";
import type { ServerKey } from "./server-key.ts";
import { SiteSecrets } from "./site-secrets.ts";
import type { Storage } from "./storage.ts";

export interface SiteArgs {
  readonly site: SiteFile;
  /** Built and checked. */
  readonly release: Release;
  readonly surroundings: pulumi.Input<SiteSurroundings>;
  readonly storage: Storage;
  readonly server: Server;
  /** Whether wheels that a release lacks are fetched on the laptop. */
  readonly fetchWheels: boolean;
  /** The secrets that config has for its services. */
  readonly secrets: readonly SecretsFile[];
  readonly serverKey: ServerKey;
}

/**
 * A website: its artifact and its immutable files in the buckets, its secrets, then one command that has the server install it.
 * Taking the site out of the stack removes it from the server; its data stays there.
 */
export class Site extends pulumi.ComponentResource {
  constructor(name: string, args: SiteArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Site", name, {}, opts);
    const artifact = this.#uploadArtifact(name, args);
    const before = [artifact.command, this.#uploadImmutable(name, args), ...this.#putSecrets(name, args)];
    this.#install(name, args, artifact, before);
    this.registerOutputs({ version: pulumi.secret(args.release.version) });
  }

  /** Nothing is put before it is proven that the server can install it; what that takes only the enrolled server tells. */
  #uploadArtifact(name: string, args: SiteArgs): LocalScript<{ artifact: Artifact }> {
    const { site, release, storage, server, fetchWheels } = args;
    const bucket = storage.artifactBucket;
    const services = pipServices([...site.services, ...site.workers]);
    const python = services.length > 0 ? { services, server: serverPython(server.enrolled), fetchWheels } : undefined;
    return localScript(
      `${name}-artifact`,
      {
        create: ["local-commands/put-artifact.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: {
          spaces: storage.uploads(bucket.name),
          slug: site.slug,
          version: release.version,
          artifact: {
            path: release.artifactPath,
            sha256: release.artifactSha256,
            size: release.artifactSize,
            digest: release.artifactDigest,
          },
          ...(python ? { python } : {}),
          prefixes: [`sites/${site.slug}/`],
        },
        showsProgress: fetchWheels,
      },
      { parent: this, ...storage.deletedWith(bucket) },
    );
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

  /** Before the site, so that its services need not wait for them. */
  #putSecrets(name: string, args: SiteArgs): pulumi.Resource[] {
    if (args.secrets.length === 0) return [];
    const { slug } = args.site;
    return [new SiteSecrets(`${name}-secrets`, { slug, ...args }, { parent: this }).put];
  }

  #install(name: string, args: SiteArgs, put: LocalScript<{ artifact: Artifact }>, before: pulumi.Resource[]): void {
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
      .all([args.surroundings, server.droplet.id, deployer.result, put.result])
      .apply(([surroundings, dropletId, { by }, { artifact }]) =>
        buildManifest({
          site,
          release: asPut(release, artifact),
          surroundings,
          server: dropletId,
          by,
          reason: "pulumi up",
        }),
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
      { parent: this, dependsOn: [server.configured, ...before], deletedWith: server.droplet },
    );
  }
}

function asPut(release: Release, { sha256, size, digest }: Artifact): Release {
  return { ...release, artifactSha256: sha256, artifactSize: size, artifactDigest: digest };
}
