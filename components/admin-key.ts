import { SshKey } from "@pulumi/digitalocean/sshKey.js";
import * as pulumi from "@pulumi/pulumi";
import type { SshKeyPair } from "../lib/ssh-keys.ts";
import { localScript } from "./local-script.ts";

export interface AdminKeyArgs {
  /** Name of the key at DigitalOcean and comment in its line. */
  readonly resourceName: string;
}

/** The stack's own ssh key, made once. People's keys never go to DigitalOcean: they are put on the server only. */
export class AdminKey extends pulumi.ComponentResource {
  readonly privateKey: pulumi.Output<string>;
  readonly publicKey: pulumi.Output<string>;
  /** What a droplet is created with. */
  readonly sshKeyId: pulumi.Output<string>;

  constructor(name: string, args: AdminKeyArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:AdminKey", name, {}, opts);
    const child = { parent: this };
    const pair = localScript<SshKeyPair>(
      `${name}-pair`,
      { create: ["local-commands/make-ssh-key.ts"], input: { comment: args.resourceName }, once: true },
      child,
    );
    this.privateKey = pair.result.privateKey;
    this.publicKey = pair.result.publicKey;
    const key = new SshKey(name, { name: args.resourceName, publicKey: this.publicKey }, child);
    this.sshKeyId = pulumi.secret(key.id);
    this.registerOutputs({ sshKeyId: this.sshKeyId });
  }
}
