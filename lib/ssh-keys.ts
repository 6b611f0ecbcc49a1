import ssh2 from "ssh2";

/** An ed25519 key pair in OpenSSH's formats. */
export interface SshKeyPair {
  /** PEM text (`-----BEGIN OPENSSH PRIVATE KEY-----`), ending in a newline. */
  readonly privateKey: string;
  /** One line without a newline: `ssh-ed25519 AAAA... comment`. */
  readonly publicKey: string;
}

/** Makes a new ed25519 key pair, without a passphrase. */
export function makeSshKeyPair(comment: string): SshKeyPair {
  const pair = ssh2.utils.generateKeyPairSync("ed25519", { comment });
  return { privateKey: `${pair.private.trimEnd()}\n`, publicKey: pair.public.trim() };
}

/** The first two words of a public key's line: what two keys are compared by, since a comment says nothing. */
export function withoutComment(publicKey: string): string {
  return publicKey.trim().split(/\s+/, 2).join(" ");
}
