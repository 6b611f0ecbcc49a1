import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { makeSshKeyPair } from "../../lib/ssh-keys.ts";

const program = join(resolve(import.meta.dirname, "../.."), "ansible/run.ts");
const key = makeSshKeyPair("test");
/** Nobody listens there. */
const input = {
  host: "127.0.0.1",
  port: 9,
  user: "root",
  privateKey: key.privateKey,
  hostKeys: [key.publicKey],
  input: {},
};

function start(words: readonly string[], json: unknown) {
  const child = spawn(process.execPath, [program, ...words], { stdio: ["pipe", "pipe", "pipe"] });
  child.stdin.end(typeof json === "string" ? json : JSON.stringify(json));
  return child;
}

async function ending(child: ReturnType<typeof start>): Promise<{ code: number | null; lines: string[]; out: string }> {
  const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "exit")]);
  return { code: code as number | null, lines: errors.trim().split("\n"), out };
}

function folders(pid: number | undefined): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`chillbox-ansible-${pid}-`));
}

for (const [what, words, json, message] of [
  ["no playbook", [], input, /Say: node ansible\/run\.ts enrol\|configure/],
  ["no key", ["enrol"], { ...input, privateKey: "" }, /The input's privateKey is missing/],
  ["an option as host", ["enrol"], { ...input, host: "-oProxyCommand=x y" }, /is no address/],
  ["no host key", ["enrol"], { ...input, hostKeys: [] }, /hostKeys are not a list of public keys/],
  ["two lines as host key", ["enrol"], { ...input, hostKeys: ["ssh-ed25519 AAAA\n* ssh-ed25519 AAAA"] }, /hostKeys/],
  [
    "an archive of other scripts",
    ["configure"],
    withScripts({ path: program, sha256: "0" }),
    /is not the archive it should be/,
  ],
] as const) {
  test(`${what} is one clear error`, async () => {
    const { code, lines, out } = await ending(start(words, json));
    assert.equal(code, 1);
    assert.equal(lines.length, 1, lines.join("\n"));
    assert.match(lines[0] ?? "", message);
    assert.equal(out, "");
  });
}

test("what it wrote goes away when it is ended, and with the next run when it was killed", {
  timeout: 60_000,
}, async () => {
  const ended = start(["enrol"], input);
  await appears(ended.pid);
  ended.kill("SIGTERM");
  const { code, lines } = await ending(ended);
  assert.equal(code, 1);
  assert.equal(lines.at(-1), "Interrupted.");
  assert.deepEqual(folders(ended.pid), []);

  const killed = start(["enrol"], input);
  await appears(killed.pid);
  killed.kill("SIGKILL");
  await once(killed, "exit");
  assert.equal(folders(killed.pid).length, 1);
  const next = start(["enrol"], input);
  await appears(next.pid);
  assert.deepEqual(folders(killed.pid), []);
  next.kill("SIGTERM");
  await ending(next);
});

function withScripts(scripts: unknown): unknown {
  return { ...input, input: { hostKey: key.publicKey, scripts, wheels: { path: "/nowhere" } } };
}

async function appears(pid: number | undefined): Promise<void> {
  while (folders(pid).length === 0) await sleep(20);
}
