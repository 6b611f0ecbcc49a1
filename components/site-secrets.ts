import * as remote from "@pulumi/command/remote/index.js";
import * as pulumi from "@pulumi/pulumi";
import { secretsObjectKey, secretsObjectPrefix } from "../lib/names.ts";
import type { SecretsFile } from "../lib/site-secrets.ts";
import type { SealedSecret } from "../local-commands/seal-secret.ts";
import { localScript } from "./local-script.ts";
import type { Server } from "./server.ts";
import type { ServerKey } from "./server-key.ts";
import type { Storage } from "./storage.ts";

export interface SiteSecretsArgs {
  readonly slug: string;
  /** At least one. */
  readonly secrets: readonly SecretsFile[];
  readonly storage: Storage;
  readonly server: Server;
  readonly serverKey: ServerKey;
}

/**
 * A site's secrets: each is sealed to the server's key and put into the artifact bucket, then one command has the server fetch and open
 * them. The server's list is whole: a secret that is no longer set goes.
 */
export class SiteSecrets extends pulumi.ComponentResource {
  /** Done when the server has all of them. */
  readonly put: pulumi.Resource;

  constructor(name: string, args: SiteSecretsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:SiteSecrets", name, {}, opts);
    const { slug, server, serverKey, storage } = args;
    const sealed = args.secrets.map((secret) => this.#seal(`${name}-${secret.service}`, args, secret));
    const key = { number: serverKey.number, passphrase: serverKey.passphrase };
    this.put = new remote.Command(
      `${name}-put`,
      {
        connection: server.connection,
        create: "doas chillbox-secrets put",
        delete: "doas chillbox-secrets remove",
        stdin: pulumi.secret(pulumi.jsonStringify({ slug, key, spaces: storage.downloads, secrets: sealed })),
        logging: "none",
        addPreviousOutputInEnv: false,
      },
      { parent: this, dependsOn: [server.configured, serverKey.made], deletedWith: server.droplet },
    );
    this.registerOutputs();
  }

  /** Encrypted anew whenever an input changes: the secret, its file's name, the server's key. */
  #seal(name: string, args: SiteSecretsArgs, secret: SecretsFile): pulumi.Output<SealedSecret> {
    const { slug, storage, serverKey } = args;
    const { hostName, publicKey } = serverKey;
    const bucket = storage.artifactBucket;
    const isOurs = "base64" in secret.content;
    return localScript<SealedSecret>(
      name,
      {
        create: ["local-commands/seal-secret.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: {
          spaces: storage.uploads(bucket.name),
          slug,
          secret,
          publicKey,
          object: secretsObjectKey(slug, secret.service, hostName, secret.file),
          // What other tools have put is theirs.
          prefixes: isOurs ? [secretsObjectPrefix(slug, secret.service, hostName)] : [],
        },
      },
      { parent: this, ...storage.deletedWith(bucket) },
    ).result;
  }
}
