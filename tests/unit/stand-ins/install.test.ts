import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { installStandIns } from "../../../toolchain/stand-ins/install.ts";

const all = { language: true, digitalocean: true, command: true };
const none = { language: false, digitalocean: false, command: false };

function temporaryHome(t: TestContext): string {
  const home = mkdtempSync(join(tmpdir(), "chillbox-pulumi-home-"));
  t.after(() => rmSync(home, { recursive: true }));
  return home;
}

function programs(home: string): string[] {
  return readdirSync(join(home, "plugins"), { recursive: true })
    .map(String)
    .filter((path) => statSync(join(home, "plugins", path)).isFile())
    .sort();
}

test("stand-ins are installed where the engine looks, with a loud sign, under the versions of the npm packages", (t) => {
  const home = temporaryHome(t);
  installStandIns(home, process.execPath, all);
  const version = (name: string) =>
    JSON.parse(readFileSync(new URL(import.meta.resolve(`@pulumi/${name}/package.json`)), "utf8")).version;
  assert.deepEqual(programs(home), [
    `language-nodejs-v${version("pulumi")}/pulumi-language-nodejs`,
    `resource-command-v${version("command")}/pulumi-resource-command`,
    `resource-digitalocean-v${version("digitalocean")}/pulumi-resource-digitalocean`,
    `resource-pulumi-nodejs-v${version("pulumi")}/pulumi-resource-pulumi-nodejs`,
  ]);
  assert.match(readFileSync(join(home, "STAND-INS"), "utf8"), /NOT the official/);
  for (const program of programs(home)) {
    assert.ok(statSync(join(home, "plugins", program)).mode & 0o100, `${program} can be run`);
  }
});

test("installing again writes nothing", (t) => {
  const home = temporaryHome(t);
  installStandIns(home, process.execPath, all);
  const times = () => programs(home).map((path) => statSync(join(home, "plugins", path), { bigint: true }).mtimeNs);
  const before = times();
  installStandIns(home, process.execPath, all);
  assert.deepEqual(times(), before);
});

test("a stand-in that is no longer wanted goes; an official plugin stays", (t) => {
  const home = temporaryHome(t);
  installStandIns(home, process.execPath, all);
  const official = join(home, "plugins/resource-digitalocean-v4.80.1/pulumi-resource-digitalocean");
  writeFileSync(official, "\x7fELF official");
  installStandIns(home, process.execPath, none);
  assert.deepEqual(programs(home), ["resource-digitalocean-v4.80.1/pulumi-resource-digitalocean"]);
  assert.ok(!existsSync(join(home, "STAND-INS")));
});

test("the launcher works from a path with a quote and a blank", (t) => {
  const folder = join(temporaryHome(t), "it's a path");
  mkdirSync(folder);
  const node = join(folder, "node");
  writeFileSync(node, '#!/bin/sh\nprintf "%s|" "$@"\n', { mode: 0o755 });
  installStandIns(folder, node, { ...none, command: true });
  const output = execFileSync(join(folder, "plugins/resource-command-v1.2.1/pulumi-resource-command"), ["127.0.0.1:1"]);
  assert.match(String(output), /stand-ins\/command\/main\.ts\|127\.0\.0\.1:1\|$/);
});
