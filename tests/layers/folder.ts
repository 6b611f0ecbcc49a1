import { runBats } from "./bats.ts";
import { projectFiles } from "./files.ts";
import { type Counts, type Layer, type Limits, sum } from "./layer.ts";
import { runNodeTests } from "./node-tests.ts";

/**
 * The layer whose tests are the files below `tests/<name>/`: `*.test.ts` for node:test, `*.bats` for bats.
 * @param options.atOnce files of node:test that run beside each other; default 1
 */
export function folderLayer(options: {
  readonly name: string;
  readonly needs: readonly string[];
  readonly minutes: number;
  readonly atOnce?: number;
}): Layer {
  const { name, needs, minutes, atOnce = 1 } = options;
  return { name, needs, minutes, run: (limits) => run(name, atOnce, limits) };
}

async function run(name: string, atOnce: number, limits: Limits): Promise<Counts> {
  const files = (await projectFiles(limits.repository)).filter((file) => file.startsWith(`tests/${name}/`));
  const nodeFiles = files.filter((file) => file.endsWith(".test.ts"));
  const batsFiles = files.filter((file) => file.endsWith(".bats"));
  const results: Counts[] = [];
  if (nodeFiles.length > 0) results.push(await runNodeTests(nodeFiles, atOnce, limits));
  if (batsFiles.length > 0) results.push(await runBats(batsFiles, limits));
  return sum(results);
}
