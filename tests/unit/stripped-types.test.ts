import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const folder = mkdtempSync(join(tmpdir(), "chillbox-stripped-"));
after(() => rmSync(folder, { recursive: true }));
const kept = join(folder, "node_modules/.cache/stripped");
mkdirSync(join(folder, "toolchain"));
const loader = join(folder, "toolchain/stripped-types.mjs");
cpSync(join(import.meta.dirname, "../../toolchain/stripped-types.mjs"), loader);
writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
const script = join(folder, "script.ts");

/** What the script printed, and what Node had to say about it. */
function run(): string {
  const { stdout, stderr } = spawnSync(process.execPath, ["--import", loader, script], { encoding: "utf8" });
  return stdout + stderr;
}

test("a file is stripped once, and again when it has changed", () => {
  writeFileSync(script, "const word: string = 'one';\nconsole.log(word);\n");
  assert.equal(run(), "one\n");
  assert.deepEqual(readdirSync(kept), ["script.ts"]);
  const file = join(kept, "script.ts");
  writeFileSync(file, readFileSync(file, "utf8").replace("'one'", "'kept'"));
  assert.equal(run(), "kept\n", "what is kept is not used");
  writeFileSync(script, "const word: string = 'two';\nconsole.log(word);\n");
  assert.equal(run(), "two\n");
});

test("an error names its line in the TypeScript file", () => {
  writeFileSync(script, "interface Unused {\n  a: string;\n}\n\nthrow new Error('here');\n");
  for (const time of ["first", "second"]) assert.match(run(), /script\.ts:5/, time);
});

test("a folder that cannot hold what is kept is no error", () => {
  rmSync(kept, { recursive: true });
  writeFileSync(kept, "in the way");
  writeFileSync(script, "const word: string = 'three';\nconsole.log(word);\n");
  assert.equal(run(), "three\n");
});
