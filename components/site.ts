import * as remote from "@pulumi/command/remote/index.js";
import * as pulumi from "@pulumi/pulumi";
import { buildManifest, type SiteSurroundings } from "../lib/manifest.ts";
import type { Release } from "../lib/release.ts";
import type { SiteFile } from "../lib/site-file.ts";
import type { SecretsFile } from "../lib/site-secrets.ts";
import { asPut, type Uploaded, uploadOf } from "../lib/upload.ts";
import { type LocalScript, localScript } from "./local-script.ts";
import { type Server, serverPython } from "./server.ts";
import type { ServerKey } from "./server-key.ts";
import { SiteSecrets } from "./site-secrets.ts";
import type { Storage } from "./storage.ts";

export interface SiteArgs {
  readonly site: SiteFile;
  /** Built and checked. */
  readonly release: Release;
  /** For the log of deploys. */
  readonly reason: string;
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
    this.#install(name, args, this.#upload(name, args), this.#putSecrets(name, args));
    this.registerOutputs({ version: pulumi.secret(args.release.version) });
  }

  /** Nothing is put before it is proven that the server can install it; what that takes only the enrolled server tells. */
  #upload(name: string, { site, release, storage, server, fetchWheels }: SiteArgs): LocalScript<Uploaded> {
    const upload = serverPython(server.enrolled).apply((python) => uploadOf(site, release, { python, fetchWheels }));
    return localScript(
      `${name}-upload`,
      {
        create: ["local-commands/put-release.ts"],
        delete: ["local-commands/remove-release.ts"],
        input: { buckets: storage.buckets, upload },
        showsProgress: fetchWheels,
      },
      { parent: this, ...storage.deletedWith(storage.artifactBucket) },
    );
  }

  /** Before the site, so that its services need not wait for them. */
  #putSecrets(name: string, args: SiteArgs): pulumi.Resource[] {
    if (args.secrets.length === 0) return [];
    const { slug } = args.site;
    return [new SiteSecrets(`${name}-secrets`, { slug, ...args }, { parent: this }).put];
  }

  #install(name: string, args: SiteArgs, upload: LocalScript<Uploaded>, secrets: pulumi.Resource[]): void {
    const { site, reason, server, storage } = args;
    const manifest = pulumi
      .all([args.surroundings, server.droplet.id, storage.downloads, upload.result])
      .apply(([surroundings, droplet, spaces, { artifact, by }]) => {
        const release = asPut(args.release, artifact);
        return buildManifest({ site, release, surroundings, server: droplet, spaces, by, reason });
      });
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
      { parent: this, dependsOn: [server.configured, upload.command, ...secrets], deletedWith: server.droplet },
    );
  }
}
