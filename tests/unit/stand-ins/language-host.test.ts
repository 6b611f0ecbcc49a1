import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type TestContext, test } from "node:test";
import grpc from "@grpc/grpc-js";
import rpc from "@pulumi/pulumi/proto/language_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/language_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { findPackages, findPluginPackages } from "../../../toolchain/stand-ins/language-host/packages.ts";
import { refusal } from "../../../toolchain/stand-ins/plugin/stack.ts";

const script = join(import.meta.dirname, "../../../toolchain/stand-ins/language-host/main.ts");

/** Starts the language host as the engine does. */
async function start(t: TestContext) {
  const host = spawn(process.execPath, [script, "127.0.0.1:1"], { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise((resolve) => host.stdout.once("data", (text) => resolve(String(text).trim())));
  const client = new rpc.LanguageRuntimeClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  t.after(() => {
    client.close();
    host.kill();
  });
  return client;
}

for (const stack of ["prod", "organization/chillbox/prod", "local2", "localhost", "", "organization/local/prod"]) {
  test(`stack '${stack}' may not run on stand-ins`, () => {
    const sentence = refusal(stack);
    assert.ok(sentence?.startsWith(`stack ${stack}: refuses to run on stand-ins`), sentence);
    assert.match(sentence ?? "", /install the official Pulumi/);
  });
}

for (const stack of ["local", "organization/chillbox/local"]) {
  test(`stack '${stack}' may run on stand-ins`, () => {
    assert.equal(refusal(stack), undefined);
  });
}

test("the running language host refuses a real stack without running its program", async (t) => {
  const client = await start(t);
  const folder = mkdtempSync(join(tmpdir(), "chillbox-language-host-"));
  t.after(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, "index.ts"), "throw new Error('it ran')");
  const request = new pb.RunRequest().setStack("prod").setProject("p").setPwd(folder).setProgram("index.ts");
  const response = await new Promise<InstanceType<typeof pb.RunResponse> | undefined>((resolve, reject) => {
    client.run(request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  assert.match(response?.getError() ?? "", /^stack prod: refuses to run on stand-ins/);
});

test("the running language host hands the project's nodeargs to node", async (t) => {
  const client = await start(t);
  const root = mkdtempSync(join(tmpdir(), "chillbox-language-host-"));
  t.after(() => rmSync(root, { recursive: true }));
  const put = (path: string, content: string) => {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  };
  // In the place of the SDK.
  put("node_modules/@pulumi/pulumi/cmd/run/index.js", "process.exit(globalThis.first);");
  put("node_modules/source-map-support/index.js", "");
  put("first.mjs", "globalThis.first = 7;");
  const options = struct.Struct.fromJavaScript({ typescript: false, nodeargs: "--no-warnings --import=./first.mjs" });
  const info = new pb.ProgramInfo()
    .setRootDirectory(root)
    .setProgramDirectory(root)
    .setEntryPoint(".")
    .setOptions(options);
  const request = new pb.RunRequest().setStack("local").setPwd(root).setInfo(info);
  const response = await new Promise<InstanceType<typeof pb.RunResponse> | undefined>((resolve, reject) => {
    client.run(request, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
  assert.equal(response?.getError(), "the program exited with status 7");
});

test("packages are found in package.json and node_modules", (t) => {
  const root = mkdtempSync(join(tmpdir(), "chillbox-packages-"));
  t.after(() => rmSync(root, { recursive: true }));
  const put = (folder: string, manifest: object) => {
    mkdirSync(join(root, folder), { recursive: true });
    writeFileSync(join(root, folder, "package.json"), JSON.stringify(manifest));
  };
  put(".", { dependencies: { "@pulumi/command": "1.2.1", missing: "1" }, devDependencies: { tool: "2" } });
  put("node_modules/@pulumi/command", { version: "1.2.1", pulumi: { resource: true, name: "command" } });
  put("node_modules/@pulumi/pulumi", { version: "3.0.0" });
  put("node_modules/@pulumi/random", { version: "v4.1.0", pulumi: { resource: true } });
  put("node_modules/tool", { version: "2.0.0" });
  assert.deepEqual(findPackages(root), [
    { name: "@pulumi/command", version: "1.2.1" },
    { name: "tool", version: "2.0.0" },
  ]);
  assert.deepEqual(
    findPluginPackages(root).sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: "@pulumi/command", version: "1.2.1", plugin: "command" },
      { name: "@pulumi/random", version: "4.1.0", plugin: "random" },
    ],
  );
  assert.deepEqual(findPluginPackages(join(root, "nowhere")), []);
});
