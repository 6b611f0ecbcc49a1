import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildImage } from "../../image/build.ts";
import { rawImage } from "./raw-image.ts";

/** The image's own first-boot script and busybox, on an empty root, against a metadata service on loopback. */
const folder = mkdtempSync(join(tmpdir(), "chillbox-first-boot-"));
const values = join(folder, "metadata.json");
const root = join(folder, "root");
const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExample stack";
const interfaces = "auto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet dhcp\n";

let disk = "";
let server: ChildProcess | undefined;
let port = "";

before(
  async () => {
    disk = await rawImage((await buildImage()).path, folder);
    mkdirSync(join(folder, "mount"));
    server = spawn(process.execPath, [join(import.meta.dirname, "metadata-server.ts"), "127.0.0.1", "0", values], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    port = await new Promise((resolve) => server?.stdout?.once("data", (text) => resolve(String(text).trim())));
  },
  { timeout: 180_000 },
);

after(() => {
  server?.kill();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  mkdirSync(join(root, "etc/network"), { recursive: true });
  writeFileSync(join(root, "etc/network/interfaces"), interfaces);
});

afterEach(() => rmSync(root, { recursive: true, force: true }));

function serve(changes: Record<string, unknown> = {}): void {
  const all = {
    hostname: "web.example.test",
    "public-keys": key,
    "interfaces/private/0/ipv4/address": "10.10.0.5",
    "interfaces/private/0/ipv4/netmask": "255.255.255.0",
    "user-data": "#!/bin/sh\necho run >> $ROOT/user-data-ran\n",
    ...changes,
  };
  writeFileSync(`${values}.new`, JSON.stringify(all));
  execFileSync("mv", [`${values}.new`, values]);
}

interface Result {
  readonly code: number;
  readonly errors: string;
}

/** Starts first-boot in the image; its root is mounted read-only in a mount namespace that ends with it. */
function start(args: string[] = [], tries = "3"): ChildProcess {
  const script = `mount -o loop,ro "$1" "$2/mount" && mount -t tmpfs tmpfs "$2/mount/dev" && : > "$2/mount/dev/null" &&
    mount --bind /dev/null "$2/mount/dev/null" && mount --bind "$2/root" "$2/mount/mnt" && shift 2 &&
    exec chroot ${folder}/mount /usr/libexec/chillbox/first-boot "$@"`;
  const environment = {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    ROOT: "/mnt",
    METADATA_URL: `http://127.0.0.1:${port}/metadata/v1`,
    TRIES: tries,
    DELAY: "0.1",
  };
  const unshare = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh"];
  return spawn("unshare", [...unshare, disk, folder, ...args], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
}

async function firstBoot(args: string[] = [], tries = "3"): Promise<Result> {
  const child = start(args, tries);
  let errors = "";
  child.stderr?.on("data", (text) => {
    errors += text;
  });
  const code = await new Promise<number>((resolve) => child.once("close", (status) => resolve(status ?? -1)));
  return { code, errors };
}

function content(path: string): string {
  return readFileSync(join(root, path), "utf8");
}

function has(path: string): boolean {
  return existsSync(join(root, path));
}

test("name, keys and VPC address are written, user-data is run and forgotten", async () => {
  serve();
  assert.deepEqual(await firstBoot(), { code: 0, errors: "" });
  assert.equal(content("etc/hostname"), "web.example.test\n");
  assert.match(content("etc/hosts"), /^127\.0\.0\.1\tweb\.example\.test localhost/);
  assert.doesNotMatch(content("etc/hosts"), /^::1.*\slocalhost(\s|$)/m, "nobody holds a site's port on ::1");
  assert.equal(content("root/.ssh/authorized_keys"), `${key}\n`);
  assert.equal(statSync(join(root, "root/.ssh/authorized_keys")).mode & 0o777, 0o600);
  assert.equal(statSync(join(root, "root/.ssh")).mode & 0o777, 0o700);
  const stanza = content("etc/network/interfaces").slice(interfaces.length).split("\n");
  assert.ok(content("etc/network/interfaces").startsWith(interfaces));
  assert.deepEqual(stanza.slice(0, 3), ["# VPC", "auto eth1", "iface eth1 inet static"]);
  assert.deepEqual(
    stanza.map((line) => line.trim()).filter((line) => /^(address|netmask)/.test(line)),
    ["address 10.10.0.5", "netmask 255.255.255.0"],
  );
  assert.equal(content("user-data-ran"), "run\n");
  assert.ok(has("var/lib/chillbox/first-boot"));
  assert.ok(!has("run/chillbox/first-boot"));
  assert.throws(() => execFileSync("grep", ["-r", "echo run", root]));
});

test("until the server has its own host key, every boot does it again; then none does", async () => {
  serve();
  await firstBoot();
  await firstBoot();
  assert.equal(content("user-data-ran"), "run\nrun\n");
  assert.equal(content("etc/network/interfaces").match(/eth1 inet static/g)?.length, 1);
  assert.equal((await firstBoot(["--done"])).code, 1);
  mkdirSync(join(root, "etc/chillbox/host-key"), { recursive: true });
  writeFileSync(join(root, "etc/chillbox/host-key/current"), "");
  assert.equal((await firstBoot(["--done"])).code, 0);
  serve({ hostname: "other.example.test" });
  assert.equal((await firstBoot()).code, 0);
  assert.equal(content("user-data-ran"), "run\nrun\n");
  assert.equal(content("etc/hostname"), "web.example.test\n");
});

test("a host key of its own without the mark is not enough", async () => {
  serve();
  mkdirSync(join(root, "etc/chillbox/host-key"), { recursive: true });
  writeFileSync(join(root, "etc/chillbox/host-key/current"), "");
  assert.equal((await firstBoot(["--done"])).code, 1);
  assert.equal((await firstBoot()).code, 0);
  assert.equal((await firstBoot(["--done"])).code, 0);
});

test("a droplet outside every VPC, and one without user-data, are set up too", async () => {
  serve({
    "interfaces/private/0/ipv4/address": undefined,
    "interfaces/private/0/ipv4/netmask": undefined,
    "user-data": undefined,
  });
  assert.deepEqual(await firstBoot(), { code: 0, errors: "" });
  assert.equal(content("etc/network/interfaces"), interfaces);
  assert.ok(has("var/lib/chillbox/first-boot"));
});

for (const [what, data] of [
  ["empty", ""],
  ["cloud-config", "#cloud-config\nruncmd: [touch /mnt/user-data-ran]\n"],
  ["text", "touch $ROOT/user-data-ran\n"],
  ["binary", "\u0000#!/bin/sh\ntouch $ROOT/user-data-ran\n"],
] as const) {
  test(`user-data that is no script is not run: ${what}`, async () => {
    serve({ "user-data": data });
    assert.deepEqual(await firstBoot(), { code: 0, errors: "" });
    assert.ok(!has("user-data-ran"));
  });
}

test("user-data that fails leaves the first boot undone, and nothing of it", async () => {
  serve({ "user-data": "#!/bin/sh\nexit 7\n" });
  const { code, errors } = await firstBoot();
  assert.equal(code, 1);
  assert.match(errors, /user-data ended with exit code 7/);
  assert.ok(!has("var/lib/chillbox/first-boot"));
  assert.ok(!has("run/chillbox/first-boot"));
});

test("no public key: asked again, then a loud failure and no mark", async () => {
  for (const keys of ["", "\n\n", { status: 404 }]) {
    serve({ "public-keys": keys });
    const { code, errors } = await firstBoot();
    assert.equal(code, 1);
    assert.match(errors, /no public key for root/);
    assert.ok(!has("var/lib/chillbox/first-boot"));
  }
});

test("keys that come late and a service that stumbles are waited for", async () => {
  serve({ "public-keys": "", hostname: { status: 500 } });
  const running = firstBoot([], "100");
  await sleep(500);
  serve({ "public-keys": "" });
  await sleep(500);
  serve({ "public-keys": `${key}\nssh-rsa AAAA second` });
  assert.deepEqual(await running, { code: 0, errors: "" });
  assert.equal(content("root/.ssh/authorized_keys"), `${key}\nssh-rsa AAAA second\n`);
});

test("a service that never answers ends with its address and what it said", async () => {
  serve({ hostname: { status: 503 } });
  const { code, errors } = await firstBoot();
  assert.equal(code, 1);
  assert.match(errors, /metadata\/v1\/hostname does not answer \(last status 503\)/);
});

for (const [what, changes] of [
  ["host name with a command", { hostname: "a;reboot" }],
  ["empty host name", { hostname: "" }],
  ["address with a line break", { "interfaces/private/0/ipv4/address": "10.0.0.1 up reboot" }],
  ["netmask that is none", { "interfaces/private/0/ipv4/netmask": "$(reboot)" }],
] as const) {
  test(`values that are not what they should be are refused: ${what}`, async () => {
    serve(changes);
    const { code, errors } = await firstBoot();
    assert.equal(code, 1);
    assert.match(errors, /the metadata service gives/);
    assert.ok(!has("user-data-ran"));
    assert.equal(content("etc/network/interfaces"), interfaces);
  });
}

test("killed at any moment, the next boot does all of it", async () => {
  serve({ "user-data": "#!/bin/sh\necho run >> $ROOT/user-data-ran\nsleep 0.2\n" });
  for (const milliseconds of [20, 60, 100, 150, 200, 250, 300, 350]) {
    const child = start();
    const closed = new Promise((resolve) => child.once("close", resolve));
    await sleep(milliseconds);
    child.kill("SIGKILL");
    await closed;
    // A power cut takes what is only in memory.
    rmSync(join(root, "run"), { recursive: true, force: true });
  }
  assert.equal((await firstBoot()).code, 0);
  assert.ok(has("user-data-ran"));
  assert.equal(content("etc/network/interfaces").match(/eth1 inet static/g)?.length, 1);
  assert.equal(content("root/.ssh/authorized_keys"), `${key}\n`);
});
