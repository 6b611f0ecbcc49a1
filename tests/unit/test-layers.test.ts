import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { execa } from "execa";
import { isGood, sum } from "../layers/layer.ts";

const repository = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "chillbox-layers-"));
after(() => rmSync(folder, { recursive: true }));

/** Runs one of the runners on a file in a process of its own, as its output is for a person; its counts are the last line. */
async function countsOf(module: string, call: string, file: string, content: string): Promise<unknown> {
  writeFileSync(join(folder, file), content);
  const script = `import * as runner from ${JSON.stringify(join(repository, "tests/layers", module))};
    const limits = { repository: ${JSON.stringify(folder)}, signal: AbortSignal.timeout(60000) };
    console.log("\\n" + JSON.stringify(await runner.${call}));`;
  // A run inside a run of node:test does nothing while this variable is there.
  const env = { NODE_TEST_CONTEXT: undefined };
  // A file, because node:test gives options such as --eval to the processes that it starts.
  writeFileSync(join(folder, `run-${file}.mjs`), script);
  const { stdout } = await execa(process.execPath, [join(folder, `run-${file}.mjs`)], { env });
  return JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "");
}

const nodeTests = (content: string, file: string) =>
  countsOf("node-tests.ts", `runNodeTests([${JSON.stringify(file)}], 1, limits)`, file, content);
const bats = (content: string, file: string) =>
  countsOf("bats.ts", `runBats([${JSON.stringify(join(folder, file))}], limits)`, file, content);

describe("counting node's tests", () => {
  it("counts tests, not suites", async () => {
    const content = `import { describe, it, test } from "node:test";
      describe("suite", () => { it("a", () => {}); it("b", () => { throw new Error("no"); }); });
      test("c", () => {}); it.skip("d"); it.todo("e");`;
    assert.deepEqual(await nodeTests(content, "mixed.test.ts"), { passed: 2, failed: 1, skipped: 2 });
  });

  it("counts a file that does not load as a failure", async () => {
    assert.deepEqual(await nodeTests('import "./missing.ts";', "broken.test.ts"), { passed: 0, failed: 1, skipped: 0 });
  });

  it("counts a suite whose hook fails as a failure", async () => {
    const content = `import { after, describe, it } from "node:test";
      describe("suite", () => { after(() => { throw new Error("left something"); }); it("a", () => {}); });`;
    assert.deepEqual(await nodeTests(content, "hook.test.ts"), { passed: 1, failed: 1, skipped: 0 });
  });
});

describe("counting bats' tests", () => {
  it("counts each way a test can end", async () => {
    const content = '@test "a" { true; }\n@test "b" { false; }\n@test "c" { skip "later"; }\n@test "d" { true; }\n';
    assert.deepEqual(await bats(content, "mixed.bats"), { passed: 2, failed: 1, skipped: 1 });
  });

  it("counts a file that bats cannot read as a failure", async () => {
    const counts = (await bats('@test "a" { true; }\nif\n', "broken.bats")) as { passed: number; failed: number };
    assert.ok(counts.failed > 0, JSON.stringify(counts));
  });
});

describe("a layer's result", () => {
  it("is good only when something passed and nothing failed or was left out", () => {
    assert.ok(isGood({ passed: 1, failed: 0, skipped: 0 }));
    assert.ok(!isGood({ passed: 0, failed: 0, skipped: 0 }));
    assert.ok(!isGood({ passed: 9, failed: 1, skipped: 0 }));
    assert.ok(!isGood({ passed: 9, failed: 0, skipped: 1 }));
  });

  it("adds up", () => {
    const one = { passed: 1, failed: 2, skipped: 3 };
    assert.deepEqual(sum([one, one]), { passed: 2, failed: 4, skipped: 6 });
    assert.deepEqual(sum([]), { passed: 0, failed: 0, skipped: 0 });
  });
});

describe("tests/run.ts", () => {
  it("refuses a layer that there is not, as a failure", async () => {
    const outcome = await execa(process.execPath, ["toolchain/start.mjs", "tests/run.ts", "unitt"], {
      cwd: repository,
      reject: false,
    });
    assert.equal(outcome.exitCode, 1);
    assert.match(outcome.stderr, /There is no layer "unitt"\. Layers: lint, /);
  });
});
