import { join } from "node:path";
import { run } from "node:test";
import { spec } from "node:test/reporters";
import type { Counts, Limits } from "./layer.ts";

/** Runs files of node:test, each in a process of its own, and shows each test as it ends. */
export async function runNodeTests(files: readonly string[], atOnce: number, limits: Limits): Promise<Counts> {
  const { repository, signal } = limits;
  const counts = { passed: 0, failed: 0, skipped: 0 };
  const stream = run({ files: files.map((file) => join(repository, file)), concurrency: atOnce, signal });
  stream.on("test:pass", ({ details, skip, todo }) => {
    if (details.type === "suite") return;
    if (skip !== undefined || todo !== undefined) counts.skipped += 1;
    else counts.passed += 1;
  });
  stream.on("test:fail", ({ details, skip, todo }) => {
    // A suite fails with its tests, which are counted, or by a hook of its own, which nothing else tells of.
    const reason = details.error as Error & { failureType?: string };
    if (details.type === "suite" && reason.failureType === "subtestsFailed") return;
    if (skip !== undefined || todo !== undefined) counts.skipped += 1;
    else counts.failed += 1;
  });
  for await (const text of stream.compose(new spec())) process.stdout.write(text);
  return counts;
}
