import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { buildImage, type Image, imageDigest } from "../../image/build.ts";
import { rawImage } from "./raw-image.ts";

const folder = mkdtempSync(join(tmpdir(), "chillbox-contents-"));
const privateKey = "-----BEGIN [A-Z ]*PRIVATE KEY-----\\r?\\n[A-Za-z0-9+/]{40}";
let image: Image;
let disk = "";

before(
  async () => {
    image = await buildImage();
    disk = await rawImage(image.path, folder);
    mkdirSync(join(folder, "root"));
  },
  { timeout: 180_000 },
);

after(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a shell command in the image's root, mounted read-only for it alone; answers its stdout. */
function inImage(command: string): string {
  const script = 'mount -o loop,ro "$1" "$2" && cd "$2" && exec sh -c "$3"';
  const unshare = [
    "--mount",
    "--propagation",
    "private",
    "sh",
    "-c",
    script,
    "sh",
    disk,
    join(folder, "root"),
    command,
  ];
  const result = spawnSync("unshare", unshare, { encoding: "utf8", maxBuffer: 1e8 });
  assert.equal(result.status, 0, result.stderr);
  return result.stdout.trim();
}

test("no private key and no host key is in it", () => {
  assert.equal(inImage("find . -xdev -name 'ssh_host_*'"), "");
  // Programs that handle keys contain the words; a key would follow them on the next line.
  execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, "key")]);
  execFileSync("grep", ["-qzP", "--", privateKey, join(folder, "key")]);
  // GnuTLS has the well-known keys of its self-test built in.
  assert.equal(inImage(`grep -rlazP --exclude='libgnutls.so.*' -- "${privateKey}" . || true`), "");
  assert.equal(inImage("find etc/apk/keys -name '*.rsa'"), "");
});

test("nobody has a password or a key, and root is open to keys only", () => {
  const passwords = inImage("cut -d : -f 2 etc/shadow").split("\n");
  assert.deepEqual([...new Set(passwords)].sort(), ["!", "*"]);
  assert.match(inImage("cat etc/shadow"), /^root:\*:/m);
  assert.equal(inImage("find . -xdev -name authorized_keys"), "");
  assert.deepEqual(inImage("awk -F : '$3 == 0 { print $1 }' etc/passwd").split("\n"), ["root"]);
});

test("nothing is in it that would be the same on every server", () => {
  assert.equal(inImage("cat etc/machine-id"), "");
  assert.equal(inImage("cat etc/hostname"), "localhost");
  const places = "root tmp run home var/lib/chillbox etc/chillbox var/log var/lib/redis var/lib/chrony var/lib/nginx";
  assert.equal(inImage(`find ${places} 2> /dev/null -type f || true`), "");
});

test("nothing of the base's own ways is left", () => {
  assert.equal(inImage("grep -rIl quicksand etc usr/local lib/apk var || true"), "");
  assert.equal(inImage("ls usr/bin/sudo sbin/dhcpcd .dockerenv 2> /dev/null || true"), "");
  assert.equal(inImage("grep -E '^rc_sys=' etc/rc.conf || true"), "");
  assert.equal(inImage("grep -c getty etc/inittab | grep -v '^1$' || true"), "");
});

test("only programs that need it run as another user", () => {
  assert.deepEqual(inImage("find . -xdev -perm /6000 -type f | sort").split("\n"), ["./usr/bin/doas"]);
});

test("apk takes packages from signed sources only", () => {
  const keys = inImage("ls etc/apk/keys").split("\n");
  assert.ok(keys.some((key) => key.startsWith("alpine-devel@")));
  assert.match(inImage("cat etc/apk/repositories"), /^https:\/\/\S+\/v3\.23\/main\nhttps:\/\/\S+\/v3\.23\/community$/);
  assert.equal(inImage("ls var/cache/chillbox-packages 2> /dev/null || true"), "");
});

test("modules of Python are compiled, so that a user who cannot write them need not wait", () => {
  assert.equal(inImage("[ $(ls usr/lib/python3*/__pycache__ | wc -l) -gt 100 ] && echo yes"), "yes");
});

test("it can boot as a real machine: whole-disk file system, boot loader, kernel, initial file system", () => {
  const boot = inImage("ls boot").split("\n");
  for (const file of ["vmlinuz-virt", "initramfs-virt", "extlinux.conf", "ldlinux.sys", "ldlinux.c32"]) {
    assert.ok(boot.includes(file), file);
  }
  const start = readFileSync(disk).subarray(0, 2048);
  assert.equal(start.subarray(510, 512).toString("hex"), "55aa", "boot signature");
  assert.match(start.subarray(0, 512).toString("latin1"), /EXTLINUX|SYSLINUX|Boot error/);
  assert.equal(start.subarray(1080, 1082).toString("hex"), "53ef", "ext4 without a partition table");
  const header = execFileSync("dumpe2fs", ["-h", disk], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  const uuid = /Filesystem UUID:\s+(\S+)/.exec(header)?.[1] ?? "";
  assert.match(inImage("cat boot/extlinux.conf etc/fstab"), new RegExp(`root=UUID=${uuid}[^]*UUID=${uuid} / ext4`));
  assert.doesNotMatch(header, /features:.*\b64bit\b/);
  assert.match(header, /features:.*\bresize_inode\b/);
});

test("the file system is clean, small, and grows to the plan's disk", () => {
  execFileSync("e2fsck", ["-f", "-n", disk], { stdio: "ignore" });
  assert.ok(readFileSync(disk).length < 400 * 1024 * 1024);
  assert.ok(image.size < 130 * 1024 * 1024);
  const grown = join(folder, "grown.raw");
  execFileSync("cp", ["--sparse=always", disk, grown]);
  execFileSync("truncate", ["-s", "25G", grown]);
  execFileSync("resize2fs", [grown], { stdio: "ignore" });
  execFileSync("e2fsck", ["-f", "-n", grown], { stdio: "ignore" });
  rmSync(grown);
});

test("the manifest beside it says what was taken", () => {
  const manifest = JSON.parse(readFileSync(join(dirname(image.path), "manifest.json"), "utf8"));
  assert.equal(manifest.digest, imageDigest());
  assert.equal(manifest.base, image.base);
  for (const name of ["alpine-baselayout", "nginx", "openssh", "s6", "python3", "linux-virt"]) {
    assert.ok(
      manifest.packages.some((line: string) => line.startsWith(`${name}-`)),
      name,
    );
  }
  if (image.base === "debian") assert.ok(manifest.debian.some((line: string) => /^openssh-server=1:/.test(line)));
});
