import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { runRemotely } from "../../../toolchain/stand-ins/command/remote.ts";
import type { Call } from "../../../toolchain/stand-ins/plugin/plugin.ts";
import type { Properties } from "../../../toolchain/stand-ins/plugin/wire.ts";
import { newKey, startSshServer, type TestServer } from "./ssh-server.ts";

function recordingCall(signal = new AbortController().signal): Call & { lines: string[]; warnings: string[] } {
  const lines: string[] = [];
  const warnings: string[] = [];
  const log = (line: string) => lines.push(line);
  return { urn: "urn", name: "thing", signal, lines, warnings, log, warn: (line) => warnings.push(line) };
}

function connectionTo({ port, hostKey, privateKey }: TestServer, change: Properties = {}): Properties {
  return { host: "127.0.0.1", port, user: "tester", hostKey, privateKey, dialErrorLimit: 0, ...change };
}

async function run(t: TestContext, command: string, inputs: Properties = {}, acceptEnv: string[] = []) {
  const server = await startSshServer(t, acceptEnv);
  return runRemotely(command, { connection: connectionTo(server), ...inputs }, {}, recordingCall());
}

test("stdin goes in; stdout and stderr come out without one newline", async (t) => {
  const outputs = await run(t, "cat; echo; echo err >&2", { stdin: "in" });
  assert.deepEqual(outputs, { stdout: "in", stderr: "err" });
});

test("without stdin the command sees its end at once", async (t) => {
  assert.deepEqual(await run(t, "cat; echo end"), { stdout: "end", stderr: "" });
});

test("much output arrives whole", async (t) => {
  const { stdout } = await run(t, "head -c 3000000 /dev/zero | tr '\\0' x", { logging: "none" });
  assert.equal(String(stdout).length, 3_000_000);
});

test("a failure tells status, command and all output", async (t) => {
  await assert.rejects(run(t, "echo out; exit 3"), {
    message: 'Process exited with status 3: running "echo out; exit 3":\nout\n',
  });
  await assert.rejects(run(t, "kill -9 $$"), /^Error: Process exited with status 255: running /);
});

test("lines are shown while the command runs, unless that is switched off", async (t) => {
  const server = await startSshServer(t);
  for (const [logging, expected] of [
    ["stdout", ["one", "two"]],
    ["none", []],
  ] as const) {
    const call = recordingCall();
    const inputs = { connection: connectionTo(server), logging };
    await runRemotely("echo one; echo two; echo err >&2", inputs, {}, call);
    assert.deepEqual(call.lines, expected);
  }
});

test("another host key is refused, as often as dialErrorLimit allows", async (t) => {
  const server = await startSshServer(t);
  const connection = connectionTo(server, { hostKey: newKey().public, dialErrorLimit: 2 });
  const call = recordingCall();
  await assert.rejects(
    runRemotely("echo no", { connection }, {}, call),
    new RegExp(
      `ssh to tester@127\\.0\\.0\\.1:${server.port} failed 3 times: ssh: host key mismatch: 127\\.0\\.0\\.1 answers with another host key`,
    ),
  );
  assert.equal(server.connections(), 3);
  assert.equal(call.lines.length, 2);
});

test("a host key that is none is refused before dialling", async (t) => {
  const server = await startSshServer(t);
  const connection = connectionTo(server, { hostKey: "ssh-ed25519" });
  await assert.rejects(runRemotely("echo no", { connection }, {}, recordingCall()), /hostKey must be one line as in/);
  assert.equal(server.connections(), 0);
});

test("without a host key any host is accepted", async (t) => {
  const server = await startSshServer(t);
  const { hostKey: _, ...connection } = connectionTo(server);
  assert.equal((await runRemotely("echo yes", { connection }, {}, recordingCall())).stdout, "yes");
});

test("a wrong key is refused; what only the official plugin takes is named", async (t) => {
  const server = await startSshServer(t);
  const stranger = connectionTo(server, { privateKey: newKey().private });
  await assert.rejects(
    runRemotely("echo no", { connection: stranger }, {}, recordingCall()),
    /failed 1 times: .*Permission denied/,
  );
  const connection = connectionTo(server, { password: "correct horse" });
  await assert.rejects(
    runRemotely("echo no", { connection }, {}, recordingCall()),
    /^Error: connection\.password is for the official plugin alone$/,
  );
});

test("a host that does not answer is dialled for perDialTimeout each time", async (t) => {
  const { createServer } = await import("node:net");
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  t.after(() => silent.close());
  const { port } = silent.address() as { port: number };
  const connection = { host: "127.0.0.1", port, privateKey: newKey().private, perDialTimeout: 0.3, dialErrorLimit: 1 };
  const start = performance.now();
  await assert.rejects(runRemotely("echo no", { connection }, {}, recordingCall()), /failed 2 times: Timed out/);
  assert.ok(performance.now() - start < 3_000);
});

test("a host that comes up later is reached", async (t) => {
  const server = await startSshServer(t);
  const { createServer, connect } = await import("node:net");
  // Takes the first two connections and drops them, like a host that is still booting.
  let dropped = 0;
  const gate = createServer((socket) => {
    if (dropped < 2) {
      dropped += 1;
      socket.destroy();
    } else {
      socket.on("error", () => undefined);
      socket.pipe(connect(server.port, "127.0.0.1").on("error", () => undefined)).pipe(socket);
    }
  });
  await new Promise<void>((resolve) => gate.listen(0, "127.0.0.1", resolve));
  t.after(() => gate.close());
  const { port } = gate.address() as { port: number };
  const connection = connectionTo(server, { port, dialErrorLimit: -1 });
  assert.equal((await runRemotely("echo up", { connection }, {}, recordingCall())).stdout, "up");
  assert.equal(dropped, 2);
});

test("a variable that the host accepts arrives; one that it refuses fails by name", async (t) => {
  const environment = { GOOD: "value" };
  assert.equal((await run(t, 'echo "$GOOD"', { environment }, ["GOOD"])).stdout, "value");
  await assert.rejects(run(t, "echo no", { environment: { BAD: "value" } }), /refused variable BAD: .*AcceptEnv/);
});

test("refused last outputs only warn", async (t) => {
  const server = await startSshServer(t);
  const call = recordingCall();
  const connection = connectionTo(server);
  const outputs = await runRemotely('echo "[$PULUMI_COMMAND_STDOUT]"', { connection }, { stdout: "old" }, call);
  assert.equal(outputs.stdout, "[]");
  assert.equal(call.warnings.length, 1);
  const quiet = recordingCall();
  await runRemotely("true", { connection, addPreviousOutputInEnv: false }, { stdout: "old" }, quiet);
  assert.deepEqual(quiet.warnings, []);
});

test("a stop ends the wait for a host and a running command", async (t) => {
  const server = await startSshServer(t);
  for (const change of [{}, { port: 1, dialErrorLimit: -1 }]) {
    const stopping = new AbortController();
    const connection = connectionTo(server, change);
    const start = performance.now();
    const ended = assert.rejects(runRemotely("sleep 20", { connection }, {}, recordingCall(stopping.signal)));
    setTimeout(() => stopping.abort(), 300);
    await ended;
    assert.ok(performance.now() - start < 5_000);
  }
});
