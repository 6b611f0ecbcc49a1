import { execa } from "execa";
import type { Counts, Layer, Limits } from "./layer.ts";

/** The part of Biome's JSON report that is read here. */
interface Report {
  readonly summary: { readonly unchanged: number; readonly errors: number; readonly warnings: number };
}

/** Style and lint of TypeScript and JSON; a pass is a file without a finding. */
export const lint: Layer = { name: "lint", needs: [], minutes: 5, run };

async function run({ repository, signal }: Limits): Promise<Counts> {
  const biome = "node_modules/@biomejs/biome/bin/biome";
  const options = { cwd: repository, cancelSignal: signal, reject: false, maxBuffer: 1 << 26 } as const;
  const report = await execa(process.execPath, [biome, "check", "--reporter=json", "."], options);
  const { summary } = JSON.parse(report.stdout) as Report;
  const failed = summary.errors + summary.warnings;
  if (failed > 0) {
    const shown = await execa(process.execPath, [biome, "check", "--diagnostic-level=warn", "."], {
      ...options,
      all: true,
    });
    process.stdout.write(`${shown.all}\n`);
  }
  return { passed: Math.max(0, summary.unchanged - failed), failed, skipped: 0 };
}
