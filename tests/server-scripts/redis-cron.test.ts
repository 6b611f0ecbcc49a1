import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "./server.ts";

/** One server for all tests of this file, in their order, with two sites: "a" and its neighbour "b". */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-redis-"));
const directives = { maxmemory: "16mb", "proc-title-template": 'x "y" \\ é', save: "900 1 300 10" };

before(
  async () => {
    await server.setUp();
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
  assert.equal(await ask("replicaof 127.0.0.1 22"), "OK");
  assert.match(await ask("info replication"), /master_link_status:down/);
  assert.equal(await root(`nsenter -t ${pid} -n ip -o link | grep -c UP || true`), "0");
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

test("it goes on running when only code changes, and starts anew with its data when its configuration does", {
  timeout: 60_000,
}, async () => {
  const pid = await redisPid();
  assert.equal(await install(await site("a", "2", { redis: directives })), "installed");
  assert.equal(await redisPid(), pid);
  assert.equal(
    await install(await site("a", "2", { redis: { appendonly: "yes", databases: "4", save: "" } })),
    "installed",
  );
  assert.notEqual(await redisPid(), pid);
  assert.equal(await ask("config get databases"), "databases\n4");
  // Redis itself takes no append-only files for no data.
  assert.equal(await ask("get word"), "kept");
  assert.equal(await ask("-n 3 set deep too"), "OK");
  assert.equal(await install(await site("a", "3", { redis: { databases: "4", save: "" } })), "installed");
  assert.equal(await ask("get word"), "kept");
  assert.equal(await ask("-n 3 get deep"), "too");
});

test("a configuration that Redis refuses is refused while the old one goes on", { timeout: 60_000 }, async () => {
  const pid = await redisPid();
  for (const [redis, users, words] of [
    [{ "maxmemory-policy": "best" }, undefined, /Redis refuses .*maxmemory-policy "best".*\n.*must be one of/],
    [{ maxmemry: "1mb" }, undefined, /no such directive:\n>>> 'maxmemry 1mb'/],
    [{}, "user default on nopass ~* +@all\nuser x on nonsense\n", /users\.acl:2: /],
    [{ requirepass: "x" }, "user default off\n", /requirepass has no effect beside a\/redis\/users\.acl/],
    [{ port: "1" }, undefined, /redis\.port is chillbox's own/],
    [{ loadmodule: "/tmp/x.so" }, undefined, /redis\.loadmodule is not for a site to say/],
  ] as const) {
    assert.match(await refused(await site("a", "4", { redis }, users)), words);
  }
  assert.equal(await redisPid(), pid);
  assert.equal(await root("ls -d /run/chillbox/redis.* 2>/dev/null | wc -l; pgrep redis-server | wc -l"), "0\n2");
});

test("a Redis that cannot read its data goes back to the one that could", { timeout: 60_000 }, async () => {
  assert.match(
    await refused(await site("a", "5", { redis: { databases: "2" } })),
    /_redis of a .* did not get ready, .* stays in use/,
  );
  assert.equal(await ask("-n 3 get deep"), "too");
  assert.equal(await ask("get word"), "kept");
});

test("the release's users.acl says who may do what", { timeout: 60_000 }, async () => {
  const users = "user default off\nuser app on >open-sesame ~* +get +set +ping\n";
  assert.equal(await install(await site("a", "6", { redis: {} }, users)), "installed");
  assert.match(await ask("get word"), /^NOAUTH/);
  assert.equal(await ask("--no-auth-warning --user app --pass open-sesame get word"), "kept");
  assert.match(await ask("--no-auth-warning --user app --pass open-sesame config get dir"), /^NOPERM/);
  assert.equal(await install(await site("a", "7", { redis: {} })), "installed");
  assert.equal(await ask("get word"), "kept");
});

test("cron runs its lines as the site's user with its variables, and never one of them twice at once", {
  timeout: 90_000,
}, async () => {
  const crontab = [
    'echo "$(id -un) $GREETING $HOME $PWD $(command -v sh)"; exit 3',
    "/bin/sleep 47",
    "touch /root/x /run/chillbox/cron/b/x; doas -n true",
  ].map((command) => `* * * * * ${command}`);
  const changes = { redis: {}, crontab: ["# a remark", ...crontab], crontabEnvironment: { GREETING: "it's $HOME" } };
  assert.equal(await install(await site("a", "8", changes)), "installed");
  await makeDue(2);
  await eventually(async () => (await cronLog()).includes("crontab[1] ended with exit code 3"));
  const log = await cronLog();
  assert.match(log, /^\S+ \S+ +a it's \$HOME \/var\/lib\/a\/_cron \/var\/lib\/a\/_cron \/bin\/sh$/m);
  assert.match(log, /crontab\[2\] is due, but its last run is still going: left out/);
  assert.match(log, /touch: \/root\/x: Permission denied/);
  assert.match(log, /touch: \/run\/chillbox\/cron\/b\/x: (Permission denied|No such file)/);
  assert.equal(await root("pgrep -u a -xf '/bin/sleep 47' | wc -l"), "1");
  assert.match(await root("grep NoNewPrivs /proc/$(pgrep -u a -xf '/bin/sleep 47')/status"), /1$/);
  assert.equal(
    await root("cat /proc/$(s6-svstat -o pid /run/chillbox/scan/a._cron@*)/status | grep ^Uid | cut -f 2"),
    await root("id -u a"),
  );
});

test("the next release's lines take the place of the last one's, whose runs are told to end", {
  timeout: 60_000,
}, async () => {
  const changes = { redis: {}, crontab: ["* * * * * echo from the next release"] };
  assert.equal(await install(await site("a", "9", changes)), "installed");
  assert.equal(await root("pgrep -u a -xf '/bin/sleep 47' | wc -l"), "0");
  assert.match(await cronLog(), /crontab\[2\] ended with exit code 143/);
  await makeDue(1);
  await eventually(async () => (await cronLog()).includes("from the next release"));
  assert.match(
    await refused(await site("a", "10", { crontab: ["* * * * * true", "* * 0 * * true"] })),
    /the manifest's crontab\[1\]: the day of the month '0' is not a number from 1 to 31/,
  );
  const logs = await server.ssh("doas chillbox-logs a cron");
  assert.match(logs.out, /from the next release/);
  assert.match((await server.ssh("doas chillbox-logs a redis")).out, /Ready to accept connections/);
});

test("data survives a restart of the server and the removal of its site, cron comes back", {
  timeout: 120_000,
}, async () => {
  assert.equal(await ask("set late word"), "OK");
  void server.ssh("doas reboot");
  await server.host.ended();
  await server.host.boot();
  await eventually(async () => (await server.ssh("true")).code === 0, 60);
  await eventually(async () => (await ask("get late")) === "word", 30);
  await root("s6-svc -wR -T 5000 -r /run/chillbox/scan/a._redis@*");
  assert.equal(await ask("get late"), "word");
  assert.match(await root("s6-svstat -o up,ready /run/chillbox/scan/a._cron@*"), /true true/);
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "a" })).out, '{"result":"removed"}\n');
  assert.equal(
    await root("ls /run/redis /run/chillbox/cron; pgrep -u a,_a | wc -l"),
    "/run/chillbox/cron:\n\n/run/redis:\nb\nb.sock\n0",
  );
  assert.equal(await install(await site("a", "11", { redis: {} })), "installed");
  assert.equal(await ask("get late"), "word");
});

/** The cron of "a" starts anew and has so many minutes to make up for. */
async function makeDue(minutes: number): Promise<void> {
  await root(
    `s6-svc -wD -T 9000 -d /run/chillbox/scan/a._cron@*; echo $(($(date +%s) / 60 - ${minutes})) | s6-setuidgid a tee /run/chillbox/cron/a/minute; s6-svc -u /run/chillbox/scan/a._cron@*`,
  );
}

function cronLog(): Promise<string> {
  return root("cat /var/log/a-_cron/current");
}

async function eventually(check: () => Promise<boolean>, seconds = 10): Promise<void> {
  const end = performance.now() + seconds * 1000;
  while (!(await check().catch(() => false))) {
    assert.ok(performance.now() < end, `not within ${seconds} s`);
    await sleep(100);
  }
}
