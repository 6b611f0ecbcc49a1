import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { globExpression } from "../../../toolchain/stand-ins/command/assets.ts";
import { runLocally } from "../../../toolchain/stand-ins/command/local.ts";
import { commandPlugin } from "../../../toolchain/stand-ins/command/plugin.ts";
import type { Call } from "../../../toolchain/stand-ins/plugin/plugin.ts";
import { asArchive, asAsset, type Properties } from "../../../toolchain/stand-ins/plugin/wire.ts";

function recordingCall(signal = new AbortController().signal): Call & { lines: string[] } {
  const lines: string[] = [];
  return {
    urn: "urn",
    name: "thing",
    signal,
    lines,
    log: (line) => lines.push(line),
    warn: (line) => lines.push(line),
  };
}

function temporaryFolder(t: TestContext): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "chillbox-command-")));
  t.after(() => rmSync(folder, { recursive: true }));
  return folder;
}

const run = (command: string, inputs: Properties = {}, previous: Properties = {}, call: Call = recordingCall()) =>
  runLocally(command, inputs, previous, call);

test("stdin goes in; stdout and stderr come out without one newline", async () => {
  assert.deepEqual(await run("cat; echo; echo; echo err >&2", { stdin: "in" }), { stdout: "in\n", stderr: "err" });
});

test("a command that does not read a long stdin is fine", async () => {
  assert.deepEqual(await run("echo done", { stdin: "x".repeat(1_000_000) }), { stdout: "done", stderr: "" });
});

test("dir, environment and interpreter are followed", async (t) => {
  const dir = temporaryFolder(t);
  assert.equal((await run("pwd", { dir })).stdout, dir);
  assert.equal((await run("pwd")).stdout, process.cwd());
  assert.equal((await run('echo "$A-$PATH"', { environment: { A: "1" } })).stdout, `1-${process.env.PATH}`);
  const interpreter = [process.execPath, "-e"];
  assert.equal((await run("console.log(1 + 1)", { interpreter })).stdout, "2");
});

test("the last outputs come as variables unless that is switched off", async () => {
  const command = 'echo "$PULUMI_COMMAND_STDOUT+$PULUMI_COMMAND_STDERR"';
  const previous = { stdout: "a", stderr: "b" };
  assert.equal((await run(command, {}, previous)).stdout, "a+b");
  assert.equal((await run(command, { addPreviousOutputInEnv: false }, previous)).stdout, "+");
});

test("a failure tells cause, command and all output", async () => {
  await assert.rejects(run("echo out; echo err >&2; exit 3"), {
    message: 'exit status 3: running "echo out; echo err >&2; exit 3":\nout\nerr\n',
  });
  await assert.rejects(run("kill -9 $$"), /^Error: signal: SIGKILL: running "kill -9 \$\$":\n$/);
  await assert.rejects(run("x", { interpreter: ["/nowhere/sh"] }), /ENOENT: running "x"/);
});

for (const [logging, expected] of [
  [undefined, ["err", "out", "rest"]],
  ["stdoutAndStderr", ["err", "out", "rest"]],
  ["stdout", ["out", "rest"]],
  ["stderr", ["err"]],
  ["none", []],
] as const) {
  test(`logging ${logging}: shows ${expected.join(", ") || "nothing"}, whole lines`, async () => {
    const call = recordingCall();
    await run("printf o; printf 'ut\\n'; echo err >&2; printf rest", { logging }, {}, call);
    assert.deepEqual(call.lines.toSorted(), expected);
  });
}

test("a stop ends the command at once", async () => {
  const stopping = new AbortController();
  const start = performance.now();
  const ended = assert.rejects(run("sleep 30", {}, {}, recordingCall(stopping.signal)), /signal: SIGTERM/);
  setTimeout(() => stopping.abort(), 100);
  await ended;
  assert.ok(performance.now() - start < 5_000);
});

test("assetPaths and archivePaths name files that the command made", async (t) => {
  const dir = temporaryFolder(t);
  mkdirSync(join(dir, "out/deep"), { recursive: true });
  writeFileSync(join(dir, "not-this.js"), "");
  const command = "echo 1 > out/a.js; echo 2 > out/deep/b.js; echo 3 > out/deep/c.css";
  const outputs = await run(command, { dir, assetPaths: ["out/**", "!**.css"], archivePaths: ["out/*.js"] });
  const assets = outputs.assets as Properties;
  assert.deepEqual(Object.keys(assets), ["out/a.js", "out/deep/b.js"]);
  const hash = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"; // sha256 of "1\n"
  assert.deepEqual(asAsset(assets["out/a.js"])?.hash, hash);
  assert.deepEqual(asAsset(assets["out/a.js"])?.path, join(dir, "out/a.js"));
  assert.deepEqual(Object.keys(asArchive(outputs.archive)?.assets ?? {}), ["out/a.js"]);
});

const globs: [string, string, boolean][] = [
  ["*.js", "a.js", true],
  ["*.js", "b/a.js", false],
  ["**/*.js", "b/c/a.js", true],
  ["**.js", "b/c/a.js", true],
  ["a?c", "abc", true],
  ["a?c", "a/c", false],
  ["[ab].js", "b.js", true],
  ["[!ab].js", "b.js", false],
  ["{one,two}.js", "two.js", true],
  ["{one,two}.js", "three.js", false],
  ["a.js", "axjs", false],
  ["a\\*", "a*", true],
  ["a\\*", "ab", false],
  ["a,b", "a,b", true],
  ["(a)+", "(a)+", true],
];

for (const [pattern, path, expected] of globs) {
  test(`pattern ${pattern} ${expected ? "names" : "does not name"} ${path}`, () => {
    assert.equal(globExpression(pattern).test(path), expected);
  });
}

test("the resource: create, update with and without a command of its own, delete", async (t) => {
  const dir = temporaryFolder(t);
  const kind = commandPlugin.resources["command:local:Command"] ?? assert.fail();
  const call = recordingCall();
  const inputs = { dir, create: "echo made", delete: "echo gone $PULUMI_COMMAND_STDOUT > gone" };
  const { id, outputs } = await kind.create(inputs, call);
  assert.match(id, /^thing[0-9a-f]{8}$/);
  assert.equal(outputs.stdout, "made");
  const again = await kind.update?.(id, outputs, { ...inputs, create: "echo again $PULUMI_COMMAND_STDOUT" }, call);
  assert.equal(again?.stdout, "again made");
  const updated = await kind.update?.(id, again ?? {}, { ...inputs, update: "echo changed" }, call);
  assert.equal(updated?.stdout, "changed");
  await kind.delete?.(id, updated ?? {}, call);
  assert.equal((await run("cat gone", { dir })).stdout, "gone changed");
});

test("the resource without a command does nothing, and keeps what there was", async () => {
  const kind = commandPlugin.resources["command:local:Command"] ?? assert.fail();
  const call = recordingCall();
  assert.deepEqual((await kind.create({}, call)).outputs, { stdout: "", stderr: "" });
  const kept = await kind.update?.("id", { stdout: "old", stderr: "" }, { stdin: "x" }, call);
  assert.deepEqual([kept?.stdout, kept?.stdin], ["old", "x"]);
  await kind.delete?.("id", { stdout: "old" }, call);
});
