import { execa } from "execa";
import { Parser } from "tap-parser";
import type { Counts, Limits } from "./layer.ts";

/** Runs files of bats and shows its output, which is TAP. */
export async function runBats(files: readonly string[], limits: Limits): Promise<Counts> {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const child = execa("bats", ["--formatter", "tap", "--timing", ...files], {
    cwd: limits.repository,
    cancelSignal: limits.signal,
    reject: false,
    stdin: "ignore",
    stderr: "inherit",
    buffer: false,
  });
  const parser = new Parser();
  parser.on("assert", ({ ok, skip, todo }) => {
    if (skip || todo) counts.skipped += 1;
    else if (ok) counts.passed += 1;
    else counts.failed += 1;
  });
  // A plan that was not kept, or output that is no TAP: bats itself broke off.
  parser.on("complete", ({ failures, bailout, ok, fail }) => {
    if (!ok && fail === 0 && (bailout || failures.length > 0)) counts.failed += 1;
  });
  child.stdout.pipe(process.stdout, { end: false });
  child.stdout.pipe(parser);
  const result = await child;
  if (result.failed && counts.failed === 0) {
    process.stdout.write(`bats: ${result.shortMessage}\n`);
    counts.failed += 1;
  }
  return counts;
}
