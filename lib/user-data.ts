/** What a new server needs before anybody can reach it. */
export interface UserDataParts {
  /** The provisional ed25519 host key, OpenSSH PEM. */
  readonly hostKey: string;
  /** The envelope, DER. */
  readonly envelope: Buffer;
}

const limitBytes = 64 * 1024;

/**
 * The droplet's user-data: a plain shell script that lays the provisional host key and the envelope on tmpfs. sshd starts after it.
 * Nothing here lasts: the key is retired by `configure`, and only `enrol` has the key that opens the envelope.
 * @throws Error when the text is longer than DigitalOcean's limit of 64 KiB
 */
export function renderUserData(parts: UserDataParts): string {
  const base64 = parts.envelope.toString("base64").replaceAll(/(.{76})/g, "$1\n");
  const text = `#!/bin/sh
# Lays down what the first connection needs. Runs once, at the first boot, before sshd.
set -eu
umask 077
mkdir -p /run/chillbox/host-key
cat >/run/chillbox/host-key/ssh_host_ed25519_key.new <<'END_OF_KEY'
${parts.hostKey.trimEnd()}
END_OF_KEY
base64 -d >/run/chillbox/envelope.der.new <<'END_OF_ENVELOPE'
${base64.trimEnd()}
END_OF_ENVELOPE
mv /run/chillbox/envelope.der.new /run/chillbox/envelope.der
mv /run/chillbox/host-key/ssh_host_ed25519_key.new /run/chillbox/host-key/ssh_host_ed25519_key
`;
  if (Buffer.byteLength(text) > limitBytes)
    throw new Error(`user-data has ${text.length} bytes, more than ${limitBytes}`);
  return text;
}
