import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { layOutExamples } from "../sites/lay-out.ts";
import { exampleChecks, exampleStack } from "./example-checks.ts";
import { ProjectCopy } from "./project-copy.ts";

/** The sites in tests/sites/, which together use every field of the contract, deployed at once by one `up`. */
describe("the example sites", async () => {
  const copy = await ProjectCopy.make();
  const releases = mkdtempSync(join(tmpdir(), "chillbox-releases-"));
  rmSync(join(copy.folder, "sites"), { recursive: true });
  const laidOut = await layOutExamples(join(copy.folder, "sites"), releases);
  // All of them at once: about 25 Python processes and two of Redis.
  copy.edit("Pulumi.yaml", "default: s-1vcpu-512mb-10gb", "default: s-1vcpu-2gb");
  const stack = exampleStack(copy, laidOut.asked);

  before(() => {
    process.stderr.write(`end-to-end: the copy is ${copy.folder}\n`);
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    await laidOut.close();
    copy.remove();
    rmSync(releases, { recursive: true });
  });

  it("are refused until their commands are allowed", async () => {
    const refused = await copy.chillbox(["up", "--yes"]);
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.output, /make --no-print-directory --directory=assets inspect\.HASH[\s\S]*site allow notes/);
    for (const slug of ["notes", "heritage"]) {
      const outcome = await copy.chillbox(["site", "allow", slug, "--yes"]);
      assert.equal(outcome.exitCode, 0, outcome.output);
    }
  });

  it("are deployed together, warned about and not failed for keys that nobody knows", async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /"color" is not a key that chillbox knows/);
    assert.match(outcome.output, /"git_repo" is not a key that chillbox knows/);
  });

  for (const { site, what, check } of exampleChecks) it(`${site} ${what}`, () => check(stack));

  it("change nothing the second time", async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /\d+ unchanged/);
    assert.doesNotMatch(outcome.output, /\d+ (created|updated|replaced|deleted|changed)/);
  });
});
