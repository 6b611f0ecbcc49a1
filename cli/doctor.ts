import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { packagesToRun, packagesToTest } from "../toolchain/debian-packages.ts";
import { lookForTools } from "../toolchain/setup.ts";
import { missingPackages } from "../toolchain/tools/debian-packages.ts";
import { allTools, toRun, toTest } from "../toolchain/tools/index.ts";
import { oldCopies, stacksHere } from "./old-state.ts";
import { renderTable } from "./table.ts";

/** One line of the report. */
interface Finding {
  readonly name: string;
  readonly version: string;
  readonly source: string;
  readonly path: string;
  readonly neededFor: "npm run up" | "npm test" | "npm run audit";
  /** What is missing, for tools of several parts. */
  readonly missing?: readonly string[];
}

/** Prints what there is of every tool; the exit code is 1 when something is missing that `npm run up` needs. */
export async function examine(json: boolean): Promise<void> {
  const findings = await collect();
  const missing = findings.filter((finding) => finding.source === "missing");
  if (json) {
    process.stdout.write(`${JSON.stringify(findings, undefined, 2)}\n`);
  } else {
    printTable(findings);
    for (const need of ["npm run up", "npm test", "npm run audit"] as const) {
      const names = missing
        .filter((finding) => finding.neededFor === need)
        .flatMap((each) => each.missing ?? [each.name]);
      if (names.length > 0) process.stdout.write(`\n\`${need}\` will bring: ${names.join(", ")}\n`);
    }
    await hintAtOldState();
  }
  if (missing.some((finding) => finding.neededFor === "npm run up")) process.exitCode = 1;
}

/** After a change of the passphrase. */
async function hintAtOldState(): Promise<void> {
  const settings = localCloudSettings();
  for (const stack of await stacksHere(settings)) {
    if ((await oldCopies(settings, stack)).length === 0) continue;
    process.stdout.write(
      `\nOlder copies of stack ${stack}'s state open with a passphrase that it had before. Remove them: npx chillbox state prune --stack ${stack}\n`,
    );
  }
}

async function collect(): Promise<Finding[]> {
  const settings = localCloudSettings();
  const found = await lookForTools({ needs: allTools.map((tool) => tool.name), settings });
  const absent: Record<string, string[]> = {
    "debian-packages": (await missingPackages(packagesToRun)).map((each) => each.name),
    "debian-packages-to-test": (await missingPackages(packagesToTest)).map((each) => each.name),
  };
  const node: Finding = {
    name: "node",
    version: process.versions.node,
    source: process.execPath.includes("/chillbox/node/") ? "installed" : "path",
    path: process.execPath,
    neededFor: "npm run up",
  };
  const others = allTools.map((tool): Finding => {
    const answer = found[tool.name];
    const parts = absent[tool.name] ?? [];
    return {
      name: tool.name,
      version: answer?.version ?? tool.version,
      source: answer?.source ?? "missing",
      path: answer?.path ?? "",
      neededFor: neededFor(tool.name),
      ...(parts.length > 0 ? { missing: parts } : {}),
    };
  });
  return [node, ...others];
}

function neededFor(tool: string): Finding["neededFor"] {
  if (toRun.includes(tool)) return "npm run up";
  return toTest.includes(tool) ? "npm test" : "npm run audit";
}

function printTable(findings: readonly Finding[]): void {
  const rows = [
    ["tool", "version", "from", "where"],
    ...findings.map((each) => [each.name, each.version, each.source, each.path]),
  ];
  process.stdout.write(renderTable(rows));
}
