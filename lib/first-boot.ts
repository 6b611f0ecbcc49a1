/** What a server is told about itself, readable by everybody on it. */
export interface Identity {
  /** Host name, which is the droplet's name. */
  readonly server: string;
  /** chillbox's own domain for it. */
  readonly serverName: string;
  readonly project: string;
  readonly stack: string;
  readonly generation: number;
}

export interface FirstBootParts {
  readonly identity: Identity;
  /** The stack's public key, one line: the only one that may log in as the admin user until `configure` adds people's. */
  readonly publicKey: string;
}

/**
 * The script inside the envelope, which `enrol` runs as root: the admin user with doas, its key, the host's name and identity.
 * Safe to run again after a kill at any point: every file is written beside itself and renamed.
 * @throws Error for a value that would need quoting: all of them are checked long before
 */
export function renderFirstBoot({ identity, publicKey }: FirstBootParts): string {
  if (!/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/i.test(identity.server))
    throw new Error(`"${identity.server}" is not a host name`);
  if (!/^ssh-ed25519 [A-Za-z0-9+/=]+( [\w@.+-]+)?$/.test(publicKey))
    throw new Error("not an ed25519 public key's line");
  return `#!/bin/sh
# First boot of a chillbox server: admin user, names, identity.
set -eu
umask 022

# Moves stdin into place: whole or not at all. Parameters: mode, path.
put() {
  cat >"$2.new"
  chmod "$1" "$2.new"
  mv "$2.new" "$2"
}

if ! id chillbox >/dev/null 2>&1; then
  adduser -D -s /bin/sh -h /home/chillbox chillbox
fi
# "*" is no password at all; with the "!" of a new user sshd would take the account for locked.
echo 'chillbox:*' | chpasswd -e 2>/dev/null

install -d -m 0700 -o chillbox -g chillbox /home/chillbox/.ssh
put 0600 /home/chillbox/.ssh/authorized_keys <<'END'
${publicKey}
END
chown chillbox:chillbox /home/chillbox/.ssh/authorized_keys

# Alpine's doas reads the folder, others the file.
install -d -m 0750 /etc/doas.d
for file in /etc/doas.d/chillbox.conf /etc/doas.conf; do
  put 0640 "$file" <<'END'
permit nopass root
permit nopass chillbox
END
done

put 0644 /etc/hostname <<'END'
${identity.server}
END
hostname -F /etc/hostname

install -d -m 0755 /etc/chillbox
put 0644 /etc/chillbox/identity.json <<'END'
${JSON.stringify({ format: 1, ...identity })}
END
sync
`;
}
