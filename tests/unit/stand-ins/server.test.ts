import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import grpc from "@grpc/grpc-js";
import rpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import structs from "google-protobuf/google/protobuf/struct_pb.js";
import { hasSecret, type Properties, secret, unknown } from "../../../toolchain/stand-ins/plugin/wire.ts";

const standIns = join(import.meta.dirname, "../../../toolchain/stand-ins");

type Client = InstanceType<typeof rpc.ResourceProviderClient>;

/** Starts a plugin as the engine does. */
async function start(t: TestContext, name: string): Promise<Client> {
  const plugin = spawn(process.execPath, [join(standIns, name, "main.ts"), "127.0.0.1:1"], {
    env: { PATH: process.env.PATH },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const client = new rpc.ResourceProviderClient(
    `127.0.0.1:${await firstLine(plugin)}`,
    grpc.credentials.createInsecure(),
  );
  t.after(() => {
    client.close();
    plugin.kill();
  });
  return client;
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve) => child.stdout?.once("data", (text) => resolve(String(text).trim())));
}

type Answer<Response> = (error: grpc.ServiceError | null, response?: Response) => void;

function ask<Response>(send: (answer: Answer<Response>) => void): Promise<Response> {
  return new Promise((resolve, reject) => {
    send((error, response) => (error || response === undefined ? reject(error) : resolve(response)));
  });
}

function struct(properties: Properties) {
  return structs.Struct.fromJavaScript(properties as Parameters<typeof structs.Struct.fromJavaScript>[0]);
}

const urn = (stack: string) => `urn:pulumi:${stack}::chillbox::command:local:Command::thing`;

function create(client: Client, stack: string, inputs: Properties, preview = false) {
  const request = new pb.CreateRequest().setUrn(urn(stack)).setProperties(struct(inputs)).setPreview(preview);
  return ask<InstanceType<typeof pb.CreateResponse>>((answer) => client.create(request, answer));
}

function outputsOf(response: InstanceType<typeof pb.CreateResponse>): Properties {
  return (response.getProperties()?.toJavaScript() ?? {}) as Properties;
}

test("every step for a stack other than local is refused", async (t) => {
  const client = await start(t, "command");
  const inputs = struct({ create: "touch /nowhere/file" });
  const refused = { details: /^stack prod: refuses to run on stand-ins/ };
  const steps: ((answer: Answer<unknown>) => void)[] = [
    (answer) => client.check(new pb.CheckRequest().setUrn(urn("prod")).setNews(inputs), answer),
    (answer) => client.diff(new pb.DiffRequest().setUrn(urn("prod")).setNews(inputs), answer),
    (answer) => client.create(new pb.CreateRequest().setUrn(urn("prod")).setProperties(inputs), answer),
    (answer) => client.read(new pb.ReadRequest().setUrn(urn("prod")).setId("i"), answer),
    (answer) => client.update(new pb.UpdateRequest().setUrn(urn("prod")).setNews(inputs), answer),
    (answer) => client.delete(new pb.DeleteRequest().setUrn(urn("prod")).setProperties(inputs), answer),
  ];
  for (const step of steps) {
    await assert.rejects(ask(step), refused);
  }
  assert.equal(outputsOf(await create(client, "local", { create: "echo yes" })).stdout, "yes");
});

test("secret inputs stay secret in the outputs, and others plain", async (t) => {
  const client = await start(t, "command");
  const inputs = { create: "cat", stdin: secret("in"), environment: { A: secret("x"), B: "y" }, dir: "/" };
  const outputs = outputsOf(await create(client, "local", inputs));
  assert.deepEqual(outputs.stdin, secret("in"));
  assert.deepEqual(outputs.environment, secret({ A: "x", B: "y" }));
  assert.equal(outputs.dir, "/");
  assert.equal(hasSecret(outputs.stdout), false);
});

test("a preview runs nothing and tells which outputs are not known yet", async (t) => {
  const client = await start(t, "command");
  const inputs = { create: "touch /nowhere/file", stdin: unknown };
  const outputs = outputsOf(await create(client, "local", inputs, true));
  assert.equal(outputs.stdout, unknown);
  assert.equal(outputs.stdin, unknown);
  assert.equal(outputs.create, "touch /nowhere/file");
});

test("a step that fails answers with its reason and no stack", async (t) => {
  const client = await start(t, "command");
  await assert.rejects(create(client, "local", { create: "exit 9" }), {
    details: 'exit status 9: running "exit 9":\n',
  });
});

test("the digitalocean plugin does not take a configuration that leads off this machine", async (t) => {
  const client = await start(t, "digitalocean");
  const args = struct({ apiEndpoint: "https://api.digitalocean.com", token: "t" });
  const refused = { details: /the digitalocean stand-in refuses apiEndpoint 'https:\/\/api\.digitalocean\.com'/ };
  await assert.rejects(
    ask((answer) => client.configure(new pb.ConfigureRequest().setArgs(args), answer)),
    refused,
  );
  const checked = await ask<InstanceType<typeof pb.CheckResponse>>((answer) =>
    client.checkConfig(new pb.CheckRequest().setNews(args), answer),
  );
  assert.deepEqual(
    checked.getFailuresList().map((failure) => failure.getProperty()),
    ["apiEndpoint"],
  );
});

test("a plugin ends with its engine, and its command with it", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-engine-"));
  t.after(() => rmSync(folder, { recursive: true }));
  // Stands for the engine: starts the plugin, tells its port and process id, and waits.
  const script = `
    const plugin = require("node:child_process").spawn(process.execPath, [process.argv[1], "127.0.0.1:1"]);
    plugin.stdout.once("data", (port) => console.log(plugin.pid, String(port).trim()));
  `;
  const engine = spawn(process.execPath, ["-e", script, join(standIns, "command/main.ts")]);
  const [pid, port] = (await firstLine(engine)).split(" ");
  const client = new rpc.ResourceProviderClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  t.after(() => client.close());
  const pidFile = join(folder, "pid");
  const lost = assert.rejects(create(client, "local", { create: `echo $$ > ${pidFile}; sleep 60 & wait` }));
  const command = await eventually(() => Number(readFileSync(pidFile, "utf8")) || undefined);
  engine.kill("SIGKILL");
  await lost;
  await eventually(() => (isRunning(Number(pid)) || isRunning(command) ? undefined : true));
});

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function eventually<T>(probe: () => T | undefined): Promise<T> {
  for (const end = Date.now() + 20_000; ; ) {
    try {
      const result = probe();
      if (result !== undefined) {
        return result;
      }
    } catch (error) {
      if (Date.now() > end) {
        throw error;
      }
    }
    assert.ok(Date.now() < end, "it took more than 20 seconds");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
