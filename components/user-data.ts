import * as pulumi from "@pulumi/pulumi";
import type { EnvelopePurpose } from "../lib/envelope.ts";
import { type Identity, renderFirstBoot } from "../lib/first-boot.ts";
import type { SshKeyPair } from "../lib/ssh-keys.ts";
import { renderUserData } from "../lib/user-data.ts";
import { localScript } from "./local-script.ts";

export interface UserDataArgs {
  readonly identity: Identity;
  /** The stack's public key: who may log in as the admin user. */
  readonly publicKey: pulumi.Input<string>;
}

/** The envelope in the user-data and what opens it. */
export interface Envelope {
  /** PEM of the private key, made for this envelope alone. */
  readonly privateKey: string;
  /** SHA-256 of the envelope in hex, compared before anything parses it. */
  readonly sha256: string;
  /** Base64 of the DER. */
  readonly envelope: string;
}

/**
 * What a new server starts with: a provisional host key, so that the very first connection is to the right host, and an
 * envelope with the first-boot script, for `enrol` to open. Both are made once and belong to one generation of the server.
 */
export class UserData extends pulumi.ComponentResource {
  readonly userData: pulumi.Output<string>;
  /** Public half of the provisional host key. */
  readonly hostKey: pulumi.Output<string>;
  readonly envelope: pulumi.Output<Envelope>;
  readonly purpose: EnvelopePurpose;

  constructor(name: string, args: UserDataArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:UserData", name, {}, opts);
    const child = { parent: this };
    const { identity } = args;
    this.purpose = { purpose: "first-boot", server: identity.server, number: 1 };

    const hostKey = localScript<SshKeyPair>(
      `${name}-host-key`,
      { create: ["local-commands/make-ssh-key.ts"], input: { comment: `provisional@${identity.server}` }, once: true },
      child,
    );
    const text = pulumi.output(args.publicKey).apply((publicKey) => renderFirstBoot({ identity, publicKey }));
    const envelope = localScript<Envelope>(
      `${name}-envelope`,
      { create: ["local-commands/make-envelope.ts"], input: { purpose: this.purpose, text }, once: true },
      child,
    );

    this.hostKey = hostKey.result.publicKey;
    this.envelope = envelope.result;
    this.userData = pulumi
      .all([hostKey.result, envelope.result])
      .apply(([key, sealed]) =>
        renderUserData({ hostKey: key.privateKey, envelope: Buffer.from(sealed.envelope, "base64") }),
      );
    this.registerOutputs({ userData: pulumi.secret(this.userData) });
  }
}
