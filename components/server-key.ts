import * as remote from "@pulumi/command/remote/index.js";
import * as pulumi from "@pulumi/pulumi";
import { publicKeyObjectKey } from "../lib/names.ts";
import { localScript } from "./local-script.ts";
import type { Server } from "./server.ts";
import type { Storage } from "./storage.ts";

export interface ServerKeyArgs {
  readonly server: Server;
  readonly storage: Storage;
  /** The server's. */
  readonly hostName: string;
  /** Counts the key pairs of this server. A higher one makes another pair; the old one goes once nothing needs it. */
  readonly number: number;
}

/**
 * The key pair that sites' secrets are encrypted to. It is made on the server and the private half stays there, locked with a
 * passphrase that only the stack's secrets hold.
 */
export class ServerKey extends pulumi.ComponentResource {
  readonly hostName: string;
  readonly number: number;
  /** PEM, as the server told it over its pinned connection: the copy in the bucket is for others' tools and never read here. */
  readonly publicKey: pulumi.Output<string>;
  /** 64 hex digits. */
  readonly passphrase: pulumi.Output<string>;
  /** Done when the key is there: who sends secrets depends on it. */
  readonly made: pulumi.Resource;

  constructor(name: string, args: ServerKeyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:ServerKey", name, {}, opts);
    const { server, storage, hostName, number } = args;
    const passphrase = localScript<{ hex: string }>(
      `${name}-passphrase-${number}`,
      { create: ["local-commands/make-random.ts"], input: { bytes: 32 }, once: true },
      { parent: this },
    );
    const key = new remote.Command(
      `${name}-${number}`,
      {
        connection: server.connection,
        create: "doas chillbox-server-key ensure",
        delete: "doas chillbox-server-key forget",
        stdin: pulumi.secret(pulumi.jsonStringify({ number, passphrase: passphrase.result.hex })),
        logging: "none",
        addPreviousOutputInEnv: false,
      },
      { parent: this, dependsOn: [server.configured], deletedWith: server.droplet },
    );
    this.hostName = hostName;
    this.number = number;
    this.passphrase = passphrase.result.hex;
    this.publicKey = pulumi.secret(key.stdout).apply((text) => (JSON.parse(text) as { publicKey: string }).publicKey);
    this.made = key;
    this.#publish(name, storage);
    this.registerOutputs({ publicKey: this.publicKey });
  }

  /** Under one name for all numbers, so that the newest key takes the place of the one before. */
  #publish(name: string, storage: Storage): void {
    const bucket = storage.artifactBucket;
    const object = publicKeyObjectKey(this.hostName);
    localScript(
      `${name}-publication`,
      {
        create: ["local-commands/put-text.ts"],
        delete: ["local-commands/remove-objects.ts"],
        input: { spaces: storage.uploads(bucket.name), object, text: this.publicKey, prefixes: [object] },
      },
      { parent: this, ...storage.deletedWith(bucket) },
    );
  }
}
