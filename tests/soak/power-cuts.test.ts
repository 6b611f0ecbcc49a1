import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { numbers } from "../server-scripts/numbers.ts";
import { TestServer } from "../server-scripts/server.ts";
import { makeTree, siteParts, type TestSite } from "../server-scripts/test-site.ts";

/**
 * A server with a site as a machine with its own kernel (qemu), and installs that the power is cut under.
 *
 * What is on the disk when the power goes is all that counts. So at times that come from a seed the machine is held still for as long
 * as its disk is copied, and each copy is booted afterwards: in namespaces, because that takes seconds. The last time the plug is really
 * pulled, and the machine booted by its own boot loader and kernel.
 *
 * CHILLBOX_POWER_CUTS: how many copies, default 3; CHILLBOX_SEED: the seed, default 1 (both are printed).
 * CHILLBOX_REPORT: a file to which what was measured is written.
 */
const cuts = Number(process.env.CHILLBOX_POWER_CUTS ?? 3);
const seed = Number(process.env.CHILLBOX_SEED ?? 1);
const random = numbers(seed);
/** Emulated in software a boot takes a minute, and ten on a busy machine. */
const patience = 900;
const timeout = 2 * patience * 1000;
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-power-"));
const app: TestSite = { slug: "app", port: 8101 };
const disk = server.host.path("disk.raw");
let version = 0;

before(
  async () => {
    // In namespaces, which is quicker; the machine gets the disk as it is after a shutdown.
    await server.setUp();
    await install(await nextRelease());
    await server.ssh("doas poweroff");
    assert.equal(await server.host.ended(), "poweroff");
    server.connectSeconds = 60;
    await server.host.bootQemu();
    await waitForSsh();
  },
  { timeout },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

test("the release goes on after a boot as a real machine", async () => {
  assert.equal(await release(), word());
});

test(`an install whose power is cut at ${cuts + 1} times leaves one release`, { timeout }, async () => {
  console.log(`# seed ${seed}, ${cuts} copies of the disk`);
  // This kernel takes more settings than the laptop's did: they are looked at after the boot.
  const configured = await server.playbook("configure");
  assert.equal(configured.code, 0, configured.errors);
  const started = Date.now();
  await install(await nextRelease());
  const milliseconds = Date.now() - started;
  console.log(`# an install takes ${milliseconds} ms`);
  const copies: { path: string; words: string[]; after: number }[] = [];
  while (copies.length < cuts) {
    const words = [word()];
    const manifest = await nextRelease();
    words.push(word());
    const running = install(manifest);
    for (const wait of waits(Math.min(3, cuts - copies.length), milliseconds)) {
      await sleep(wait);
      const path = join(folder, `${copies.length}.raw`);
      holdStill(() => execFileSync("cp", ["--sparse=always", "--reflink=auto", disk, path]));
      copies.push({ path, words, after: wait });
    }
    await running;
  }
  const earlier = word();
  const last = await nextRelease();
  const cut = install(last).catch(() => "cut");
  await sleep(random() * milliseconds);
  await server.host.kill();
  await cut;
  await server.host.bootQemu();
  await waitForSsh();
  await check([earlier, word()], last);

  assert.equal(await done("cat /proc/sys/kernel/kptr_restrict"), "2");
  await server.host.kill();

  for (const { path, words } of copies) {
    renameSync(path, disk);
    execFileSync("sh", ["-c", 'e2fsck -p "$1" >/dev/null || [ $? -lt 4 ]', "sh", disk]);
    await server.host.boot();
    await waitForSsh();
    await check(words);
    await server.host.kill();
  }
  if (process.env.CHILLBOX_REPORT)
    appendFileSync(process.env.CHILLBOX_REPORT, `seed ${seed}, ${cuts + 1} power cuts\n`);
});

/** Waits between so many moments of an install. */
function waits(count: number, milliseconds: number): number[] {
  const moments = Array.from({ length: count }, () => random() * milliseconds).sort((a, b) => a - b);
  return moments.map((moment, index) => moment - (moments[index - 1] ?? 0));
}

function holdStill(action: () => void): void {
  process.kill(server.host.pid, "SIGSTOP");
  try {
    action();
  } finally {
    process.kill(server.host.pid, "SIGCONT");
  }
}

/** After a cut: page, nginx, service, version and `current` are of one of these releases; the install, run again, ends what it began. */
async function check(words: readonly string[], again?: unknown): Promise<void> {
  const found = await release();
  assert.ok(words.includes(found), `${found} is not of ${words.join(" or ")}`);
  if (again === undefined) return;
  await install(again);
  assert.equal(await release(), word());
}

/** The release that everything is of; what is of which when that does not come to be within a while. */
async function release(): Promise<string> {
  const parts = ["/", "/nginx", "/api/"].map(
    (path) => `curl -s -m 60 -H 'Host: app.test' http://127.0.0.1${path} | head -n 1`,
  );
  const link = "readlink /var/lib/chillbox/sites/app/current | sed 's|releases/||; s|+.*||'";
  const look = [...parts, "cat /srv/chillbox/app/version.txt", link].join("; ");
  let seen: string[] = [];
  await eventually("page, nginx, service, version and link are of one release", async () => {
    seen = (await done(look)).split("\n").filter((line) => line !== "");
    return seen.length === 5 && new Set(seen).size === 1;
  }).catch((error) => assert.fail(`${error}: ${seen.join(", ")}`));
  return seen[0] ?? "";
}

const word = () => `1.0.${version}`;

async function nextRelease(): Promise<unknown> {
  version += 1;
  const tree = makeTree(folder, app.slug, word());
  return server.manifest(app.slug, tree, { ...siteParts(app, word()), version: word(), watchSeconds: 0 });
}

async function install(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return said.out;
}

/** A command as root that must succeed; answers what it prints. */
async function done(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, `${command}: ${said.errors}`);
  return said.out.trim();
}

function waitForSsh(): Promise<void> {
  return eventually("ssh answers", async () => (await server.ssh("true")).code === 0);
}

async function eventually(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + patience * 1000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`after ${patience} s it is not so that ${what}`);
    await sleep(200);
  }
}
