import { join, relative, resolve } from "node:path";
import { type Analysis, analyseRelease, type Finding, findingLine } from "../lib/analysis/analyse.ts";
import { type AnalysisSettings, readAnalysis } from "../lib/analysis/settings.ts";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { findRelease } from "../lib/release.ts";
import { type CheckedSiteFile, checkSiteFiles, type LocatedProblem } from "../lib/site-check.ts";
import { readSiteFile } from "../lib/site-file.ts";
import { pathText, problemLine } from "../lib/site-problems.ts";
import { UserError } from "../lib/user-error.ts";
import { readAllowedCommands } from "./site-allow.ts";
import { listSiteFiles, sitesFolder } from "./sites-folder.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";

export interface CheckOptions {
  /** Paths; none: every site file of the project. */
  readonly files: readonly string[];
  /** Print one JSON document instead of lines. */
  readonly json: boolean;
}

/** A site file, and its release as far as it is built. */
interface CheckedSite extends CheckedSiteFile {
  readonly analysis?: Analysis;
}

/** Prints everything that is wrong with site files and built releases on stdout; the exit code is 1 if any of it is an error. */
export async function checkAndPrint({ files, json }: CheckOptions): Promise<void> {
  const settings = localCloudSettings();
  const chosen = files.length > 0 ? files : await allSiteFiles();
  const [checked, analysis] = [
    await checkSiteFiles(chosen, await readAllowedCommands(settings)),
    readAnalysis((await readConfig(stackConfigFile(settings))).analysis, () => {}),
  ];
  const all = await Promise.all(checked.map((each) => withRelease(each, settings, analysis)));
  process.stdout.write(
    json
      ? `${JSON.stringify(
          all.map((each) => forPrograms(each, analysis)),
          undefined,
          2,
        )}\n`
      : forPeople(all, analysis),
  );
  if (count(all, analysis, "error") > 0) process.exitCode = 1;
}

/** Of a site file with errors, or one that was never built, there is no release to look at. */
async function withRelease(
  checked: CheckedSiteFile,
  { home }: LocalCloudSettings,
  settings: AnalysisSettings,
): Promise<CheckedSite> {
  if (checked.problems.some(({ severity }) => severity === "error")) return checked;
  const site = await readSiteFile(resolve(checked.file));
  const release = await findRelease(site, { artifactsFolder: join(home, "artifacts") }).catch((error: unknown) => {
    // The release that is built is not the one that the site file means.
    if (error instanceof UserError) return undefined;
    throw error;
  });
  return release ? { ...checked, analysis: await analyseRelease(release, { settings }) } : checked;
}

async function allSiteFiles(): Promise<string[]> {
  const folder = await sitesFolder(localCloudSettings());
  return (await listSiteFiles(folder)).map((name) => {
    const path = join(folder, name);
    const short = relative(process.cwd(), path);
    return short.startsWith("..") ? path : short;
  });
}

function forPeople(checked: readonly CheckedSite[], settings: AnalysisSettings): string {
  const lines = checked.flatMap(({ file, problems, analysis }) => [
    ...problems.map((each) => `${file}:${each.line}:${each.column}: ${each.severity}: ${problemLine(each)}\n`),
    ...(analysis?.findings ?? []).map((each) => {
      return `${file}: ${severityOf(each, settings)}: ${findingLine(`release ${analysis?.version}`, each)}\n`;
    }),
    ...(analysis?.notes ?? []).map((note) => `${file}: note: release ${analysis?.version}: ${note}\n`),
  ]);
  const open = checked.filter(({ problems, analysis }) => problems.length === 0 && analysis === undefined).length;
  const counts = (["error", "warning"] as const).map((severity) => {
    const number = count(checked, settings, severity);
    return `${number} ${severity}${number === 1 ? "" : "s"}`;
  });
  const unseen = open === 0 ? "" : `; releases that are not built yet, and so not looked at: ${open}`;
  return `${lines.join("")}${checked.length} checked: ${counts.join(", ")}${unseen}\n`;
}

function severityOf({ kind }: Finding, settings: AnalysisSettings): LocatedProblem["severity"] {
  return settings[kind] === "fail" ? "error" : "warning";
}

function count(
  checked: readonly CheckedSite[],
  settings: AnalysisSettings,
  severity: LocatedProblem["severity"],
): number {
  const problems = checked.flatMap((each) => each.problems).filter((problem) => problem.severity === severity);
  const findings = checked.flatMap(({ analysis }) => analysis?.findings ?? []);
  return problems.length + findings.filter((finding) => severityOf(finding, settings) === severity).length;
}

function forPrograms({ file, problems, analysis }: CheckedSite, settings: AnalysisSettings) {
  const release = analysis && {
    version: analysis.version,
    findings: analysis.findings.map((each) => ({ severity: severityOf(each, settings), ...each })),
    notes: analysis.notes,
  };
  return {
    file,
    problems: problems.map(({ severity, path, line, column, what, fix }) => {
      return { severity, path: pathText(path), keys: path, line, column, what, fix };
    }),
    ...(release ? { release } : {}),
  };
}
