import { join, relative } from "node:path";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { type CheckedSiteFile, checkSiteFiles, type LocatedProblem } from "../lib/site-check.ts";
import { pathText, problemLine } from "../lib/site-problems.ts";
import { readAllowedCommands } from "./site-allow.ts";
import { listSiteFiles, sitesFolder } from "./sites-folder.ts";

export interface CheckOptions {
  /** Paths; none: every site file of the project. */
  readonly files: readonly string[];
  /** Print one JSON document instead of lines. */
  readonly json: boolean;
}

/** Prints everything that is wrong with site files on stdout; the exit code is 1 if any of it is an error. */
export async function checkAndPrint({ files, json }: CheckOptions): Promise<void> {
  const chosen = files.length > 0 ? files : await allSiteFiles();
  const checked = await checkSiteFiles(chosen, await readAllowedCommands(localCloudSettings()));
  process.stdout.write(json ? `${JSON.stringify(checked.map(forPrograms), undefined, 2)}\n` : forPeople(checked));
  if (checked.some(({ problems }) => problems.some(({ severity }) => severity === "error"))) process.exitCode = 1;
}

async function allSiteFiles(): Promise<string[]> {
  const folder = await sitesFolder(localCloudSettings());
  return (await listSiteFiles(folder)).map((name) => {
    const path = join(folder, name);
    const short = relative(process.cwd(), path);
    return short.startsWith("..") ? path : short;
  });
}

function forPeople(checked: readonly CheckedSiteFile[]): string {
  const lines = checked.flatMap(({ file, problems }) => {
    return problems.map((each) => `${file}:${each.line}:${each.column}: ${each.severity}: ${problemLine(each)}\n`);
  });
  return `${lines.join("")}${checked.length} checked: ${count(checked, "error")}, ${count(checked, "warning")}\n`;
}

function count(checked: readonly CheckedSiteFile[], severity: LocatedProblem["severity"]): string {
  const number = checked.flatMap(({ problems }) => problems).filter((problem) => problem.severity === severity).length;
  return `${number} ${severity}${number === 1 ? "" : "s"}`;
}

function forPrograms({ file, problems }: CheckedSiteFile) {
  return {
    file,
    problems: problems.map(({ severity, path, line, column, what, fix }) => {
      return { severity, path: pathText(path), keys: path, line, column, what, fix };
    }),
  };
}
