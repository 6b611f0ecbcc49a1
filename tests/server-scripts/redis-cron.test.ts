import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestServer } from "./server.ts";

/** One server for all tests of this file, in their order, with two sites: "a" and its neighbour "b". */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-redis-"));
const directives = { maxmemory: "16mb", "proc-title-template": 'x "y" \\ é', save: "900 1 300 10" };

before(
  async () => {
    await server.boot();
    for (const name of ["enrol", "configure"] as const) {
      const said = await server.playbook(name);
      assert.equal(said.code, 0, said.errors);
    }
  },
  { timeout: 180_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The manifest of a static site; another page is another release. */
async function site(slug: string, page: string, changes: Record<string, unknown> = {}, users?: string) {
  const tree = join(folder, slug);
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, "nginx/root"), { recursive: true });
  writeFileSync(join(tree, "nginx/root/index.html"), page);
  if (users !== undefined) {
    mkdirSync(join(tree, "redis"));
    writeFileSync(join(tree, "redis/users.acl"), users);
  }
  return server.manifest(slug, tree, { watchSeconds: 0, ...changes });
}

async function install(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out).result;
}

async function refused(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 1, `${said.out}${said.errors}`);
  return said.errors;
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

/** What the Redis of "a" answers to a user. */
function ask(words: string, user = "a"): Promise<string> {
  return root(`s6-setuidgid ${user} redis-cli -s /run/redis/a.sock ${words} 2>&1 || true`);
}

function redisPid(): Promise<string> {
  return root("s6-svstat -o pid /run/chillbox/scan/a._redis@*");
}

test("a site gets a Redis of its own, as a user of its own, with nothing but its socket", {
  timeout: 60_000,
}, async () => {
  assert.equal(await install(await site("a", "1", { redis: directives })), "installed");
  assert.equal(await install(await site("b", "1", { redis: {} })), "installed");
  assert.equal(await ask("set word kept"), "OK");
  for (const [name, value] of [...Object.entries(directives), ["port", "0"]]) {
    const said = await ask(`config get ${name}`);
    assert.equal(said, `${name}\n${name === "maxmemory" ? 16 * 2 ** 20 : value}`);
  }
  assert.equal(await root("redis-cli -s /run/redis/b.sock config get maxmemory | tail -n 1"), String(64 * 2 ** 20));
  const pid = await redisPid();
  const status = await root(`grep -E '^(Uid|Groups|CapPrm|CapEff|NoNewPrivs):' /proc/${pid}/status`);
  const uid = Number(await root("id -u a")) + 1000;
  assert.match(status, new RegExp(`^Uid:\t${uid}\t${uid}\t${uid}\t${uid}$`, "m"));
  assert.match(status, new RegExp(`^Groups:\t${uid} ?$`, "m"));
  assert.match(status, /^CapPrm:\t0+$/m);
  assert.match(status, /^CapEff:\t0+$/m);
  assert.match(status, /^NoNewPrivs:\t1$/m);
  assert.equal(
    await root(`tr '\\0' '\\n' </proc/${pid}/environ | cut -d = -f 1 | sort | xargs`),
    "LANG PATH PWD SHLVL",
  );
  assert.equal(await ask("replicaof 127.0.0.1 22"), "OK");
  assert.match(await ask("info replication"), /master_link_status:down/);
  assert.equal(await root(`ls /sys/class/net | wc -l; nsenter -t ${pid} -n ip -o link | grep -c UP || true`), "2\n0");
  assert.equal(await ask("replicaof no one"), "OK");
});

test("nobody but that site opens the socket, and nobody but its Redis the data and the configuration", async () => {
  for (const user of ["b", "_b", "nginx", "nobody"]) assert.match(await ask("ping", user), /Permission denied/, user);
  const private_ = "/var/lib/a/_redis /run/chillbox/services/a._redis@*/data/private";
  for (const user of ["a", "b", "_b", "nginx"]) {
    const said = await root(`for path in ${private_}; do s6-setuidgid ${user} ls $path 2>&1; done; true`);
    assert.equal(said.match(/Permission denied/g)?.length, 2, `${user}: ${said}`);
  }
});
