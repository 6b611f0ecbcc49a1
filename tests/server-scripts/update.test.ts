import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Status, UpdateStatus } from "../../cli/status.ts";
import { ApkMirror } from "./apk-mirror.ts";
import { TestServer } from "./server.ts";
import { answering, makeTree, siteParts } from "./test-site.ts";
import { Visitor } from "./visitors.ts";

/** One server and one mirror for all tests of this file, in their order. */
const server = new TestServer();
const mirror = new ApkMirror(server);
const folder = mkdtempSync(join(tmpdir(), "chillbox-update-"));

/** What `club` needs of Python and a broken one lacks; and a mark for each start, as a site's own data. */
const CLUB = `import colorsys, os
open(os.path.join(os.environ["HOME"], "starts"), "a").write("x")
`;
/** What it brings besides shows whether trying it changes the server itself. */
const BROKEN = `rm -f python3/usr/lib/python3*/colorsys.py
mkdir -p python3/var/spool && touch python3/leak python3/var/leak python3/var/spool/leak`;

before(
  async () => {
    await server.setUp();
    await mirror.start();
    await install("shop", 8101, "");
    await install("club", 8102, CLUB);
  },
  { timeout: 240_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function install(slug: string, port: number, first: string): Promise<void> {
  const tree = makeTree(folder, slug, slug, answering(slug, first));
  const manifest = await server.manifest(slug, tree, { ...siteParts({ slug, port }, slug), watchSeconds: 0 });
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

/** Runs a line of shell as root on the server. */
async function root(line: string): Promise<string> {
  const said = await server.ssh("doas sh", line);
  assert.equal(said.code, 0, `${line}: ${said.errors}`);
  return said.out.trim();
}

async function updates(): Promise<UpdateStatus> {
  const { updates: found } = JSON.parse(await root("chillbox-status")) as Status;
  assert.ok(found);
  return found;
}

/** Runs the playbook while somebody asks both sites all the time; nobody may get anything but the sites' answers. */
async function updateUnderLoad(): Promise<{ updated: { package: string; from: string; to: string }[] }> {
  const visitors = ["shop", "club"].map((slug) => ({ slug, visitor: new Visitor(server, slug) }));
  const said = await server.playbook("update");
  for (const { slug, visitor } of visitors) {
    assert.deepEqual(await visitor.answers(), [slug]);
    await visitor.leave();
  }
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out);
}

/** Numbers of the processes that answer: nginx's master, and the sites' own. */
async function processes(): Promise<{ nginx: string; shop: string; club: string }> {
  const [nginx = "", shop = "", club = ""] = (
    await root(`s6-svstat -o pid /run/chillbox/scan/nginx
for slug in shop club; do pgrep -o -u $slug python3; done`)
  ).split("\n");
  return { nginx, shop, club };
}

test("an update that breaks one site's Python leaves it on its old files, says so, and the rest is updated without a lost request", {
  timeout: 240_000,
}, async () => {
  await mirror.publish(1, ["python3", "nginx"], BROKEN);
  const was = await processes();
  const planned = JSON.parse(await root("chillbox-update plan"));
  assert.deepEqual(
    planned.changes.map((change: { package: string }) => change.package),
    ["nginx", "python3", "tiny"],
  );
  assert.equal(await root("tiny"), "0");
  const { updated } = await updateUnderLoad();
  assert.deepEqual(
    updated.map((change) => change.package),
    ["nginx", "tiny"],
  );
  assert.equal(await root("tiny; python3 -c 'import colorsys'; find / -xdev -name '*leak' -not -path '/root/*'"), "1");
  const { held, old, last, log } = await updates();
  assert.deepEqual(
    held.map(({ package: name, because, reason }) => [name, because, reason]),
    [["python3", "club", "ModuleNotFoundError: No module named 'colorsys'"]],
  );
  assert.deepEqual([old, last?.problem], [[], null]);
  assert.deepEqual(
    log.map(({ package: name, from, to }) => `${name} ${from} ${to}`).filter((line) => line.startsWith("tiny")),
    ["tiny 1.0-r0 1.1-r0"],
  );
  // nginx is another one; the sites' own processes never ended, and nothing that was tried wrote to a site's data.
  const is = await processes();
  assert.deepEqual([is.shop, is.club, is.nginx === was.nginx], [was.shop, was.club, false]);
  assert.equal(await root("cat /var/lib/club/api/starts"), "x");
});

test("with a Python that breaks nobody, sites start anew with it, without a lost request", {
  timeout: 240_000,
}, async () => {
  await mirror.publish(2, ["python3"]);
  const was = await processes();
  const { updated } = await updateUnderLoad();
  assert.deepEqual(
    updated.map((change) => change.package),
    ["python3", "tiny"],
  );
  const is = await processes();
  assert.deepEqual([is.nginx, is.shop === was.shop, is.club === was.club], [was.nginx, false, false]);
  const { held, old, reboot } = await updates();
  assert.deepEqual([held, old, reboot], [[], [], []]);
  assert.equal(await root("ls -d /run/chillbox/services/zygote@* | wc -l"), "1");
});

test("a run that was killed between installing and restarting is ended by the next", { timeout: 240_000 }, async () => {
  await mirror.publish(3, ["python3"]);
  const was = await processes();
  await root(`echo renew >/run/chillbox/stop-at
setsid chillbox-update run </dev/null >/dev/null 2>&1 &
run=$!
until grep -qs '^State:.T' /proc/$run/status; do [ -e /proc/$run ] && sleep 0.1; done
kill -KILL $run
rm /run/chillbox/stop-at`);
  assert.deepEqual((await updates()).old, ["club", "shop"]);
  assert.equal((await processes()).shop, was.shop);
  await updateUnderLoad();
  const { old, log } = await updates();
  assert.deepEqual(old, []);
  assert.deepEqual(log.filter(({ package: name, to }) => name === "tiny" && to === "1.3-r0").length, 1);
  assert.notEqual((await processes()).shop, was.shop);
});

test("a full disk, a mirror that is away and a package of somebody else change nothing, and status says so", {
  timeout: 240_000,
}, async () => {
  await mirror.publish(4, []);
  const attempt = async (): Promise<string | null | undefined> => {
    assert.notEqual((await server.playbook("update")).code, 0);
    assert.equal(await root("tiny"), "3");
    return (await updates()).last?.problem;
  };
  await root("fallocate -l $(($(df -k / | awk 'END { print $4 }') - 30000))k /root/full");
  assert.match((await attempt()) ?? "", /the disk has only \d+ MB free/);
  await root("rm /root/full; mv /etc/apk/keys/mirror.rsa.pub /root/");
  assert.match((await attempt()) ?? "", /UNTRUSTED|untrusted/);
  await root("mv /root/mirror.rsa.pub /etc/apk/keys/");
  mirror.takeAway();
  assert.match((await attempt()) ?? "", /the mirrors cannot be asked: .*404/);
});
