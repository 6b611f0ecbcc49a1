import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { makeSshKeyPair } from "../../lib/ssh-keys.ts";
import { addressPlan } from "../../local-cloud/network/plan.ts";
import { routerName } from "../../local-cloud/network/router.ts";
import { api, type Droplet, dropletRoot } from "./droplet.ts";

const table = "chillbox-impostor";
const recorderPort = 2200;

/** Hands each connection on to sshd, and keeps what comes in. */
const recorder = `import itertools, socket, threading
server = socket.create_server(("0.0.0.0", ${recorderPort}))
def hand_on(source, target, path):
    with open(path, "wb", 0) as kept:
        while part := source.recv(65536):
            kept.write(part)
            target.sendall(part)
    target.shutdown(socket.SHUT_WR)
for number in itertools.count():
    client, _ = server.accept()
    sshd = socket.create_connection(("127.0.0.1", 22))
    threading.Thread(target=hand_on, args=(client, sshd, f"/run/received/{number}")).start()
    threading.Thread(target=hand_on, args=(sshd, client, "/dev/null")).start()
`;

/**
 * Another host that takes the place of every server of a copy: a droplet with a real sshd, at its most talkative, which lets everybody in with
 * any key and keeps what it is sent. All connections to port 22 lead to it, through a recorder that keeps their bytes.
 */
export class Impostor {
  /** Its own host key. */
  readonly hostKey: string;
  readonly #address: string;
  readonly #settings: LocalCloudSettings;
  readonly #id: number;

  private constructor(settings: LocalCloudSettings, droplet: Droplet, hostKey: string) {
    this.#settings = settings;
    this.#id = droplet.id;
    this.hostKey = hostKey;
    this.#address = addressOf(droplet);
  }

  /** Makes the droplet, of the image that the copy's own server has, and waits for its sshd. */
  static async make(settings: LocalCloudSettings): Promise<Impostor> {
    const key = makeSshKeyPair("impostor");
    const { images } = await api<{ images: { id: number }[] }>(settings, "GET", "images?private=true");
    const { ssh_keys: keys } = await api<{ ssh_keys: { id: number }[] }>(settings, "GET", "account/keys");
    const { droplet } = await api<{ droplet: Droplet }>(settings, "POST", "droplets", {
      name: "impostor",
      region: "nyc3",
      size: "s-1vcpu-512mb-10gb",
      image: images[0]?.id,
      ssh_keys: [keys[0]?.id],
      user_data: userData(key.privateKey),
    });
    for (const end = Date.now() + 30_000; ; await sleep(200)) {
      const now = await api<{ droplet: Droplet }>(settings, "GET", `droplets/${droplet.id}`);
      if (now.droplet.status === "active" && (await answers(addressOf(now.droplet)))) {
        return new Impostor(settings, now.droplet, key.publicKey);
      }
      if (Date.now() > end) throw new Error("the impostor's sshd does not answer");
    }
  }

  /** From now on every connection of the laptop to port 22, of whatever droplet, reaches this one. */
  takeOver(): void {
    const { hostAddress } = addressPlan(this.#settings.addressRange);
    this.#inRouter(`table ip ${table} {
      chain before {
        type nat hook prerouting priority dstnat - 10
        ip saddr ${hostAddress} tcp dport 22 dnat to ${this.#address}:${recorderPort}
      }
    }`);
  }

  /** The servers have their addresses back. */
  giveBack(): void {
    this.#inRouter(`table ip ${table}\ndelete table ip ${table}`);
  }

  /** What each connection sent, what its sshd logged, and what the commands that it was asked to run were given. */
  kept(): { received: Buffer[]; log: string; input: string } {
    const run = `${dropletRoot(this.#settings, this.#id)}/run`;
    const names = readdirSync(`${run}/received`).sort((one, other) => Number(one) - Number(other));
    const received = names.map((name) => readFileSync(`${run}/received/${name}`));
    return { received, log: readFileSync(`${run}/sshd.log`, "latin1"), input: readFileSync(`${run}/input`, "latin1") };
  }

  async remove(): Promise<void> {
    await api(this.#settings, "DELETE", `droplets/${this.#id}`);
  }

  #inRouter(rules: string): void {
    execFileSync("ip", ["netns", "exec", routerName(this.#settings), "nft", "-f", "-"], { input: rules });
  }
}

/** Message numbers that a client sent before it began to encrypt; RFC 4253. Whoever never sends 21, NEWKEYS, has told nothing. */
export function openMessages(sent: Buffer): number[] {
  const numbers: number[] = [];
  for (let at = sent.indexOf("\n") + 1; at > 0 && at + 6 <= sent.length; ) {
    const number = sent[at + 5] ?? 0;
    numbers.push(number);
    if (number === 21) break;
    at += 4 + sent.readUInt32BE(at);
  }
  return numbers;
}

function addressOf(droplet: Droplet): string {
  return droplet.networks.v4.find(({ type }) => type === "public")?.ip_address ?? "";
}

async function answers(host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port: 22, timeout: 1000 });
    socket.once("data", () => resolve(true));
    socket.once("error", () => resolve(false)).once("timeout", () => resolve(false));
    socket.once("close", () => resolve(false));
    socket.once("data", () => socket.destroy());
  });
}

/** Root and the admin user get in with any key; whatever they want to run keeps its input instead. */
function userData(hostKey: string): string {
  return `#!/bin/sh
set -eu
umask 022
mkdir -p /run/chillbox/host-key
(umask 077 && cat >/run/chillbox/host-key/ssh_host_ed25519_key) <<'END'
${hostKey.trimEnd()}
END
adduser -D -s /bin/sh chillbox
echo 'chillbox:*' | chpasswd -e
mkdir /run/received
cat >/run/recorder.py <<'END'
${recorder}END
setsid python3 /run/recorder.py >/run/recorder.log 2>&1 </dev/null &
: >/run/input
: >/run/sshd.log
chmod 666 /run/input
printf '#!/bin/sh\\necho "$1 $2"\\n' >/usr/local/bin/any-key
printf '#!/bin/sh\\ncat >>/run/input\\n' >/usr/local/bin/keep
chmod 755 /usr/local/bin/any-key /usr/local/bin/keep
cat >/etc/ssh/sshd_config.d/00.conf <<'END'
LogLevel DEBUG3
AuthorizedKeysCommand /usr/local/bin/any-key %t %k
AuthorizedKeysCommandUser root
ForceCommand /usr/local/bin/keep
END
sed -i 's|^command_args=.*||; s|^pidfile=|command_args="-E /run/sshd.log"\\n&|' /etc/init.d/sshd
`;
}
