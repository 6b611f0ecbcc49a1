import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { TestServer } from "./server.ts";

/** What every script here begins with. `pack NAME VERSION FOLDER INTO` makes a signed package of a folder, `files_of NAME FOLDER` copies an installed one's files. */
const library = `set -eu
mkdir -p /root/mirror && cd /root/mirror
if [ ! -e key.pem ]; then
  openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem 2>/dev/null
  openssl pkey -in key.pem -pubout -out /etc/apk/keys/mirror.rsa.pub
fi
pack() {
  apk --no-network mkpkg --compression none --sign-key key.pem --files "$3" --output "$4/$1-$2.apk" \\
    --info "name:$1" --info "version:$2" --info arch:x86_64 --info license:none --info "origin:$1" --info "description:$1"
}
files_of() {
  rm -rf "$2"
  apk --no-network info --contents "$1" 2>/dev/null | grep -v ' contains:$' | grep . | while read -r file; do
    mkdir -p "$2/\${file%/*}"
    cp -P "/$file" "$2/$file"
  done
}
tiny() {
  mkdir -p tiny/usr/bin
  echo "echo $1" >tiny/usr/bin/tiny
  chmod 755 tiny/usr/bin/tiny
}
`;

/**
 * A mirror of Alpine's packages for one server, signed with a key that the server has: `tiny`, a script that says its number, and rebuilt
 * packages of the server's own Python and nginx. The server's own apk makes it.
 */
export class ApkMirror {
  readonly #server: TestServer;

  constructor(server: TestServer) {
    this.#server = server;
  }

  /** Installs tiny 1.0-r0 and has the server ask this mirror alone. */
  async start(): Promise<void> {
    await this.#run(`tiny 0
mkdir -p first
pack tiny 1.0-r0 tiny first
apk --no-network --quiet add first/tiny-1.0-r0.apk
sed -i 's/^tiny.*/tiny/' /etc/apk/world
echo http://198.18.200.1/alpine/Packages.adb >/etc/apk/repositories`);
  }

  /**
   * Offers tiny 1.NUMBER-r0 and the server's own Python, nginx or both under a release NUMBER.
   * @param lines of shell that change the Python's files, below `python`
   */
  async publish(number: number, packages: readonly ("python3" | "nginx")[], lines = ""): Promise<void> {
    const text = await this.#run(`tiny ${number}
rm -rf packages && mkdir packages
pack tiny 1.${number}-r0 tiny packages
for name in ${packages.join(" ")}; do
  files_of "$name" "$name"
  ${lines || ":"}
  version=$(apk --no-network info -v 2>/dev/null | sed -n "s/^$name-\\([0-9][0-9.]*\\)-r[0-9]*$/\\1/p")
  pack "$name" "$version-r${number}" "$name" packages
done
cd packages
apk --no-network mkndx --sign-key ../key.pem --output Packages.adb *.apk >/dev/null
tar -cf - . | base64`);
    const folder = join(this.#server.files, "alpine");
    this.takeAway();
    mkdirSync(folder, { recursive: true });
    execFileSync("tar", ["-C", folder, "-xf", "-"], { input: Buffer.from(text, "base64") });
  }

  takeAway(): void {
    rmSync(join(this.#server.files, "alpine"), { recursive: true, force: true });
  }

  async #run(lines: string): Promise<string> {
    const said = await this.#server.ssh("doas sh", `${library}${lines}\n`);
    assert.equal(said.code, 0, said.errors);
    return said.out;
  }
}
