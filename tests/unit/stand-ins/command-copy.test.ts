import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { copyToRemote } from "../../../toolchain/stand-ins/command/copy.ts";
import type { Call } from "../../../toolchain/stand-ins/plugin/plugin.ts";
import { archiveValue, assetValue } from "../../../toolchain/stand-ins/plugin/wire.ts";
import { startSshServer } from "./ssh-server.ts";

test("files, folders and texts arrive where the official plugin puts them", async (t: TestContext) => {
  const { port, hostKey, privateKey } = await startSshServer(t);
  const folder = mkdtempSync(join(tmpdir(), "chillbox-copy-"));
  t.after(() => rmSync(folder, { recursive: true }));
  mkdirSync(join(folder, "it's/deep"), { recursive: true });
  writeFileSync(join(folder, "it's/deep/file"), "content");
  const call: Call = {
    urn: "urn",
    name: "thing",
    signal: new AbortController().signal,
    log: () => undefined,
    warn: () => undefined,
  };
  const connection = { host: "127.0.0.1", port, user: "tester", hostKey, privateKey };
  const copy = (source: unknown, remotePath: string) =>
    copyToRemote({ connection, source, remotePath: join(folder, remotePath) }, call);
  const read = (path: string) => readFileSync(join(folder, path), "utf8");

  await copy(archiveValue({ path: join(folder, "it's") }), "whole");
  assert.equal(read("whole/it's/deep/file"), "content");
  await copy(archiveValue({ path: `${join(folder, "it's")}/` }), "inside");
  assert.equal(read("inside/deep/file"), "content");
  await copy(assetValue({ path: join(folder, "it's/deep/file") }), "new/parents/name");
  assert.equal(read("new/parents/name"), "content");
  await copy(assetValue({ path: join(folder, "it's/deep/file") }), "whole");
  assert.equal(read("whole/file"), "content");
  await copy(assetValue({ text: "told" }), "text/file");
  assert.equal(read("text/file"), "told");
  await assert.rejects(copy(assetValue({ text: "told" }), "whole"), /cannot copy to the host/);
});
