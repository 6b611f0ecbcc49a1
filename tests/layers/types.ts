import ts from "typescript";
import type { Counts, Layer, Limits } from "./layer.ts";

/** TypeScript's own check of every file; a pass is a file without a finding. */
export const types: Layer = { name: "types", needs: [], minutes: 5, run };

async function run({ repository }: Limits): Promise<Counts> {
  const file = `${repository}/tsconfig.json`;
  const { config } = ts.readConfigFile(file, ts.sys.readFile);
  const { fileNames, options, errors } = ts.parseJsonConfigFileContent(config, ts.sys, repository);
  const program = ts.createProgram(fileNames, options);
  const findings = [...errors, ...ts.getPreEmitDiagnostics(program)];
  const host = {
    getCanonicalFileName: (name: string) => name,
    getCurrentDirectory: () => repository,
    getNewLine: () => "\n",
  };
  process.stdout.write(ts.formatDiagnostics(findings, host));
  const bad = new Set(findings.map((finding) => finding.file?.fileName ?? file));
  return { passed: fileNames.length - bad.size, failed: bad.size, skipped: 0 };
}
