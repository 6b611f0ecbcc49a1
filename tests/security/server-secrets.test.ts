import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SealedSecret } from "../../local-commands/seal-secret.ts";
import { type Said, spaces, TestServer } from "../server-scripts/server.ts";
import { answering, makeTree, siteParts } from "../server-scripts/test-site.ts";
import { Visitor } from "../server-scripts/visitors.ts";
import { ensureKey, newPassphrase, offer, type ServerKey, seal, sealOlder } from "./secrets.ts";

/** One server for all tests of this file, in their order; one site, whose service "api" reads a secret and whose service "open" needs none. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-secrets-"));
const path = "/run/tmp/chillbox_secrets/shop/api/api.cfg";
/** In every secret, to be looked for where none may be. */
const canary = randomBytes(12).toString("hex");
let key: ServerKey;

/** It answers with the last word of its secret, and does not start with one that says so. */
const reader = `import os
WORD = open(os.environ["SECRETS_CONFIG"]).read().split()[-1]
if WORD == "unfit":
    raise SystemExit("this secret does not fit")
${answering("WORD").replace('b"WORD\\n"', 'WORD.encode() + b"\\n"')}`;

before(
  async () => {
    await server.setUp();
  },
  { timeout: 300_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a server's key is made once, is locked at rest, and knows its own passphrase alone", {
  timeout: 120_000,
}, async () => {
  const passphrase = newPassphrase();
  key = await ensureKey(server, 1, passphrase);
  assert.deepEqual(await ensureKey(server, 1, passphrase), key);
  const other = await server.ssh("doas chillbox-server-key ensure", { number: 1, passphrase: newPassphrase() });
  assert.match(other.errors, /key 1 of this server has another passphrase/);
  const locked = await root(
    "cd /etc/chillbox/server-key/1; stat -c %a,%U private.pem; openssl asn1parse -in private.pem",
  );
  assert.match(locked, /^600,root\n/);
  for (const word of ["PBES2", "PBKDF2", ":0927C0", "hmacWithSHA512", "aes-256-cbc"]) assert.ok(locked.includes(word));
  const unlocked = "find /etc/chillbox /run /var/lib/chillbox -type f -exec grep -lE 'BEGIN (RSA )?PRIVATE KEY' {} +";
  assert.equal(await root(`${unlocked} || true`), "");
});

test("a service waits for its secret, and starts by itself when it is there", { timeout: 120_000 }, async () => {
  assert.deepEqual((await install("1.0.0")).waiting, ["api"]);
  assert.equal(await get("/open/"), "open");
  assert.match(await get("/api/"), /502/);
  assert.deepEqual(await states(), ["waiting"]);
  assert.deepEqual(await units(), [false, true]);
  assert.deepEqual(JSON.parse((await put([secret("one")])).out).changed, ["api"]);
  assert.equal(await get("/api/"), "one");
  assert.deepEqual(await states(), ["open"]);
  const place =
    "stat -c '%a %U:%G' /run/tmp/chillbox_secrets /run/tmp/chillbox_secrets/shop /run/tmp/chillbox_secrets/shop/api";
  assert.equal(
    await root(`${place} ${path}; stat -f -c %T ${path}`),
    ["711 root:root", "710 root:shop", "700 shop:shop", "400 shop:shop", "tmpfs"].join("\n"),
  );
});

test("a changed secret restarts its service alone, and no request is lost", { timeout: 120_000 }, async () => {
  const pids = () => root("for path in /run/chillbox/scan/shop.*; do s6-svstat -o pid $path; done");
  const release = await root("readlink /var/lib/chillbox/sites/shop/current");
  const [api, open] = (await pids()).split("\n");
  const visitor = new Visitor(server, "shop");
  assert.deepEqual(await visitor.answers(), ["one"]);
  assert.equal((await put([secret("two")])).code, 0);
  assert.deepEqual(await visitor.answers(), ["one", "two"]);
  const [changed, kept] = (await pids()).split("\n");
  assert.ok(changed !== api && kept === open);
  await onlyOne("two");
  assert.equal(await root("readlink /var/lib/chillbox/sites/shop/current"), release);
  // Sealed anew, the same text is no reason to restart anything.
  assert.equal(JSON.parse((await put([secret("two")])).out).changed.length, 0);
  assert.equal(await pids(), `${changed}\n${kept}`);

  const unfit = await put([secret("unfit")]);
  assert.match(unfit.errors, /service api of shop .* did not get ready, what ran before stays in use/);
  assert.match(unfit.errors, /the secrets of shop were not taken.*; those from before hold\n$/);
  assert.equal(await pids(), `${changed}\n${kept}`);
  await onlyOne("two");
  assert.deepEqual(await visitor.answers(), ["two"]);
  assert.equal((await put([secret("three")])).code, 0);
  assert.deepEqual(await visitor.answers(), ["two", "three"]);
  assert.ok((await visitor.leave()) > 100);
});

test("what is not the very secret is not taken, and what was there stays", { timeout: 120_000 }, async () => {
  // All lie at the same place in the bucket, so that each is made when its turn comes.
  const wrong: [() => SealedSecret, RegExp][] = [
    [() => seal(server, key, "shop", `${canary} replayed\n`, { number: 1 }), /older than what this server has/],
    [() => otherDigest(secret("x")), /has not the SHA-256 that the manifest says/],
    [() => ({ ...secret("x"), size: 2000 }), /has not the size that the manifest says/],
    [() => ({ ...secret("x"), size: 2 << 20 }), /is too large/],
    [() => ({ ...secret("x"), object: "chillbox/none" }), /cannot download/],
    [() => ({ ...secret("x"), object: "../../etc/passwd" }), /is malformed/],
    [() => ({ ...secret("x"), format: "older" }), /cannot be opened with the key that was given/],
    [() => seal(server, key, "shop", "x", { site: "shop2" }), /sealed for another purpose or server/],
    [() => seal(server, key, "shop", "x", { key: "0".repeat(64) }), /sealed for another purpose or server/],
    [() => ({ ...secret("x"), number: Date.now() + 99_999 }), /sealed for another purpose or server/],
  ];
  const before = await root(`stat -c '%i %Y' ${path}; ls /var/lib/chillbox/sites/shop/secrets`);
  for (const [each, message] of wrong) {
    const said = await put([each()]);
    assert.equal(said.code, 1, said.out);
    assert.match(said.errors, message);
  }
  assert.equal(await root(`stat -c '%i %Y' ${path}; ls /var/lib/chillbox/sites/shop/secrets`), before);
  assert.equal(await get("/api/"), "three");
  // An older one only for who asks for it.
  const again = seal(server, key, "shop", `${canary} replayed\n`, { number: 1 });
  assert.equal((await put([again], { allowOlder: true })).code, 0);
  assert.equal(await get("/api/"), "replayed");
});

test("the format of older tools is read when it is named", { timeout: 60_000 }, async () => {
  const place = { site: "shop", service: "api", file: "api.cfg" };
  const sealed = sealOlder(key.publicKey, `${canary} older\n`);
  assert.equal((await put([{ ...offer(server, place, sealed), format: "older" }])).code, 0);
  assert.equal(await get("/api/"), "older");
});

test("put that is killed at any step leaves a whole secret, and run again ends as it would have", {
  timeout: 300_000,
}, async () => {
  assert.equal((await put([secret("begin")])).code, 0);
  const visitor = new Visitor(server, "shop");
  let now = "begin";
  for (const step of [
    "download",
    "open",
    "put in place",
    "start",
    "store",
    "let visitors in",
    "end what it replaces",
  ]) {
    const next = `after-${step.replaceAll(" ", "-")}`;
    const input = putInput([secret(next)]);
    await killAt(step, "chillbox-secrets put", input);
    await settled();
    assert.ok([`${canary} ${now}`, `${canary} ${next}`].includes(await root(`cat ${path}`)), step);
    const said = await server.ssh("doas chillbox-secrets put", input);
    assert.equal(said.code, 0, `${step}: ${said.errors}`);
    assert.equal(await get("/api/"), next, step);
    const seen = await visitor.answers();
    assert.ok(
      seen.every((word) => [now, next].includes(word)),
      `${step}: ${seen}`,
    );
    assert.equal(await root("find /run/tmp/chillbox_undo /run/tmp/chillbox_work -mindepth 1"), "", step);
    now = next;
  }
  await visitor.leave();
});

test("a key is replaced while both are usable, and is forgotten only when nothing needs it", {
  timeout: 120_000,
}, async () => {
  const passphrase = newPassphrase();
  for (const step of ["make the key", "write its public half", "check it"]) {
    await killAt(step, "chillbox-server-key ensure", { number: 2, passphrase });
  }
  const next = await ensureKey(server, 2, passphrase);
  const forget = (number: number) => server.ssh("doas chillbox-server-key forget", { number });
  assert.equal((await put([secret("turn")])).code, 0);
  assert.match((await forget(1)).errors, /key 1 cannot go: secrets of shop are still sealed to it/);
  const pids = () => root("s6-svstat -o pid /run/chillbox/scan/shop.api@*");
  const running = await pids();
  // The wrong one of the two keys opens nothing.
  const mixed = seal(server, next, "shop", `${canary} mixed\n`);
  assert.match((await put([mixed])).errors, /cannot be opened with the key that was given/);
  key = next;
  assert.equal((await put([secret("turn")])).code, 0);
  assert.equal(await pids(), running, "the same text under another key is no other secret");
  assert.equal((await forget(1)).out.trim(), '{"result":"forgotten"}');
  assert.equal((await forget(1)).out.trim(), '{"result":"unchanged"}');
  assert.match((await forget(2)).errors, /key 2 cannot go/);
  assert.equal(await root("ls /etc/chillbox/server-key"), "2");
});

test("after a restart what needs no secret serves, nothing secret is there, and unlocking brings the rest", {
  timeout: 240_000,
}, async (context) => {
  await root("echo planted-$(echo yranac | rev)-here >/root/planted; sync");
  await server.host.kill();
  assert.ok(onDisk("planted-canary-here"), "the search finds nothing at all");
  assert.ok(!onDisk(canary), "a secret is on the disk");
  const started = Date.now();
  await server.host.boot();
  while ((await get("/open/")) !== "open") await sleep(50);
  const milliseconds = Date.now() - started;
  context.diagnostic(`${milliseconds} ms from power-on until a service without secrets answered`);
  assert.ok(milliseconds < 10_000, `${milliseconds} ms`);
  assert.match(await get("/api/"), /502/);
  assert.deepEqual(await states(), ["locked"]);
  const status = JSON.parse((await server.ssh("doas chillbox-status")).out);
  assert.equal(status.server.locked, true);
  assert.deepEqual(
    status.sites[0].services.map(({ locked, lacksSecrets }: Record<string, boolean>) => [locked, lacksSecrets]),
    [
      [true, false],
      [false, false],
    ],
  );
  assert.equal(await root("find /run/tmp -type f"), "");

  const keys = [{ number: key.number, passphrase: key.passphrase }];
  const wrong = await server.ssh("doas chillbox-unlock", { keys: [{ ...keys[0], passphrase: newPassphrase() }] });
  assert.match(wrong.errors, /not all secrets can be opened/);
  assert.equal(wrong.code, 1);
  for (const step of ["open", "start"]) {
    await killAt(step, "chillbox-unlock", { keys });
    assert.deepEqual(await states(), ["locked"], step);
  }
  const unlocked = await server.ssh("doas chillbox-unlock", { keys });
  assert.equal(unlocked.code, 0, unlocked.errors);
  assert.equal(JSON.parse(unlocked.out).opened, 1);
  context.diagnostic(`${JSON.parse(unlocked.out).milliseconds} ms for unlocking one secret and starting its service`);
  assert.equal(await get("/api/"), "turn");
  assert.deepEqual(await states(), ["open"]);
  assert.equal(JSON.parse((await server.ssh("doas chillbox-unlock", { keys })).out).opened, 0);
});

test("a secret is gone when it is not in the list, when its site is removed, and when no kept release reads it", {
  timeout: 180_000,
}, async () => {
  const left = () =>
    root("find /run/tmp /run/chillbox/opened /var/lib/chillbox/sites/shop/secrets -type f 2>/dev/null || true");
  assert.deepEqual(JSON.parse((await put([])).out).changed, ["api"]);
  assert.equal(await left(), "/var/lib/chillbox/sites/shop/secrets/list.json");
  assert.match(await get("/api/"), /502/);
  assert.equal((await put([secret("back")])).code, 0);
  assert.equal(await get("/api/"), "back");

  // What no kept release reads any more goes with the last release that did.
  for (const version of ["2.0.0", "3.0.0", "4.0.0"]) await install(version, false);
  assert.equal(await root("find /run/tmp -type f"), "");
  await install("5.0.0");
  assert.equal((await put([secret("again")])).code, 0);
  assert.equal(await get("/api/"), "again");
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "shop" })).code, 0);
  assert.equal(await left(), "");
  // Secrets that come before the first release make the site's place and user.
  assert.equal((await put([secret("early")])).code, 0);
  assert.equal((await server.ssh("doas chillbox-secrets remove", { slug: "shop" })).out.trim(), '{"result":"removed"}');
  assert.equal(
    (await server.ssh("doas chillbox-secrets remove", { slug: "shop" })).out.trim(),
    '{"result":"unchanged"}',
  );
  assert.equal(await left(), "");
});

function secret(word: string): SealedSecret {
  return seal(server, key, "shop", `${canary} ${word}\n`);
}

/** Of all that was ever put, this alone is there, open and sealed: what was replaced or refused is gone. */
async function onlyOne(word: string): Promise<void> {
  // Of files alone: who reads from a fifo of a log takes lines away.
  const places = "/run /dev/shm /tmp /var/lib /var/tmp /etc";
  // By standard input: doas logs command lines.
  const found = await server.ssh("doas sh", `find ${places} -type f -exec grep -hF ${canary} {} + || true`);
  assert.equal(found.out.trim(), `${canary} ${word}`);
  assert.equal(await root("ls /var/lib/chillbox/sites/shop/secrets | wc -l; ls /run/chillbox/opened/shop"), "2\napi");
}

function putInput(secrets: readonly SealedSecret[], more: Record<string, unknown> = {}): object {
  return { slug: "shop", spaces, key: { number: key.number, passphrase: key.passphrase }, secrets, ...more };
}

async function put(secrets: readonly SealedSecret[], more?: Record<string, unknown>): Promise<Said> {
  return server.ssh("doas chillbox-secrets put", putInput(secrets, more));
}

/** Another object in the bucket than the one that the digest is of. */
function otherDigest(good: SealedSecret): SealedSecret {
  const bytes = readFileSync(join(server.files, "artifacts", good.object));
  bytes[300] = (bytes[300] ?? 0) ^ 1;
  writeFileSync(join(server.files, "artifacts", good.object), bytes);
  return good;
}

/** Installs a release whose service "api" reads a secret, or does not. */
async function install(version: string, reads = true): Promise<{ waiting: string[] }> {
  const tree = makeTree(folder, "shop", version, reads ? reader : answering("none"));
  cpSync(join(tree, "api"), join(tree, "open"), { recursive: true });
  renameSync(join(tree, "open/shop_api"), join(tree, "open/shop_open"));
  const project = join(tree, "open/pyproject.toml");
  writeFileSync(project, readFileSync(project, "utf8").replaceAll("shop_api", "shop_open"));
  writeFileSync(join(tree, "open/shop_open/app.py"), answering("open"));
  const { services, nginx } = siteParts({ slug: "shop", port: 8101 }, version);
  const [api] = services;
  const reading = { ...api, secrets: "api.cfg", environment: { SECRETS_CONFIG: path } };
  const manifest = await server.manifest("shop", tree, {
    version,
    services: [reads ? reading : api, { ...api, name: "open", port: 8102 }],
    nginx: nginx.replace("location /api/", "location /open/ { proxy_pass http://127.0.0.1:8102; }\n  location /api/"),
    watchSeconds: 0,
  });
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out);
}

async function get(page: string): Promise<string> {
  const words = ["curl", "--silent", "--max-time", "2", "--header", "Host: shop.test"];
  return (await server.run([...words, `http://${server.host.address}${page}`])).out.trim();
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

async function states(): Promise<string[]> {
  const { secrets } = JSON.parse((await server.ssh("doas chillbox-secrets list")).out);
  return secrets.map(({ state }: { state: string }) => state);
}

/** Whether api and open are up. */
async function units(): Promise<boolean[]> {
  const [site] = JSON.parse((await server.ssh("doas chillbox-site list")).out);
  return site.services.map(({ up }: { up: boolean }) => up);
}

/** Runs a command until it begins this step, and kills it there with all that it started. */
async function killAt(step: string, command: string, input: object): Promise<void> {
  const script = `cat >/run/input; echo "${step}" >/run/chillbox/stop-at
${command} </run/input >/dev/null 2>&1 & pid=$!
until grep -q "^State:.*T" /proc/$pid/status; do sleep 0.02; done
pkill -KILL -P $pid || true
kill -KILL $pid; wait $pid 2>/dev/null || true; rm -f /run/input /run/chillbox/stop-at`;
  const said = await server.ssh(`doas sh -c '${script}'`, input);
  assert.equal(said.code, 0, `${command} never came to "${step}": ${said.errors}`);
}

/** Until whoever looks after a site whose command was killed has done so. */
async function settled(): Promise<void> {
  await root(
    'until flock -n /run/chillbox/lock/site.shop true && [ ! -e /run/chillbox/services/guard+shop/supervise ] || [ "$(s6-svstat -o up /run/chillbox/services/guard+shop)" = false ]; do sleep 0.1; done',
  );
}

/** Whether the disk of the host, which is off, has these bytes anywhere. */
function onDisk(text: string): boolean {
  try {
    execFileSync("grep", ["--quiet", "--text", "--fixed-strings", text, server.host.path("disk.raw")], {
      env: { LC_ALL: "C" },
    });
    return true;
  } catch {
    return false;
  }
}
