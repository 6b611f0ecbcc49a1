import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { sha256 } from "../archive.ts";
import { childEnvironment } from "../child-environment.ts";
import type { Release } from "../release.ts";
import { UserError } from "../user-error.ts";
import { type Answer, advisoriesFolder, answerAge, isOld, readAnswer, readFailure } from "./advisories.ts";
import type { LockedPackage } from "./packages.ts";
import type { ScanRequest, ScanResult } from "./scan.ts";
import { type AnalysisSettings, type Kind, kinds } from "./settings.ts";

/** Something about a release that its owner should know. */
export interface Finding {
  readonly kind: Kind;
  /** What config's `analysis.ignore` calls it, and other names of the same. */
  readonly id: string;
  readonly aliases: readonly string[];
  /** Path in the release, with the line if there is one. */
  readonly where: string;
  readonly what: string;
  /** The way out. */
  readonly fix: string;
}

/** What was found out about a release. */
export interface Analysis {
  readonly slug: string;
  readonly version: string;
  /** Without those that config ignores. */
  readonly findings: readonly Finding[];
  /** What could not be looked at, or only by old data. */
  readonly notes: readonly string[];
}

export interface AnalyseOptions {
  readonly settings: AnalysisSettings;
  readonly environment?: NodeJS.ProcessEnv;
}

/** Raised when rules change, so that what older ones found is looked for again. */
const scanNumber = 1;
/** Milliseconds that a scan may take. */
const patience = 60_000;

/**
 * Looks for known faults of a release's Python packages, secrets that got into it, and bad lines of its nginx template. What was found
 * in the same files before is taken from there; what is not known yet is looked for by another process, while this one goes on.
 *
 * It never fails: what cannot be found out is a note.
 */
export async function analyseRelease(release: Release, { settings, environment }: AnalyseOptions): Promise<Analysis> {
  const { slug, version } = release;
  if (kinds.every((kind) => settings[kind] === "off")) return { slug, version, findings: [], notes: [] };
  const asks = settings.packages !== "off";
  const folder = dirname(release.artifactPath);
  const advisories = advisoriesFolder(settings.advisories, environment);
  const result = join(folder, "..", ".analysis", `${digestOf(release)}.json`);
  const immutable = release.immutable.map(({ service, folder }) => ({ service, folder }));
  const request: ScanRequest = {
    slug,
    folder,
    immutable,
    result,
    ...(asks ? { source: settings.advisories, advisories } : {}),
  };
  let known = await look(result, asks ? advisories : undefined);
  let fault: string | undefined;
  if (known === undefined || (known.toAsk && (await readFailure(advisories)) === undefined)) {
    fault = await runScan(request, environment);
    known = await look(result, asks ? advisories : undefined);
  }
  if (known === undefined) return { slug, version, findings: [], notes: [`could not be looked at: ${fault}`] };
  const { scan, answers } = known;
  const findings = [
    ...scan.packages.flatMap((each, index) => packageFindings(each, answers[index])),
    ...scan.secrets.map(({ rule, name, path, line }): Finding => {
      const fix =
        "Take it out of the release, replace it where it counts (a release stays readable), and set the new one by `npx chillbox secrets set`.";
      return {
        kind: "secrets",
        id: `${rule}:${path}`,
        aliases: [],
        where: `${path}:${line}`,
        what: `has what looks like a secret (${name})`,
        fix,
      };
    }),
    ...scan.lines.map(({ rule, line, what, fix }): Finding => {
      const where = `nginx/templates/${slug}.nginx.conf.template:${line}`;
      return { kind: "nginx", id: `nginx:${rule}`, aliases: [], where, what, fix };
    }),
  ];
  return {
    slug,
    version,
    findings: findings.filter((finding) => settings[finding.kind] !== "off" && !isIgnored(finding, slug, settings)),
    notes: [...scan.notes, ...(asks ? packageNotes(scan.packages, answers, await readFailure(advisories)) : [])],
  };
}

/**
 * Tells what was found.
 * @param tell told each line; default: nobody, because somebody else will
 * @throws UserError with what config says that is to stop a deployment
 */
export function judge(
  analyses: readonly Analysis[],
  settings: AnalysisSettings,
  tell: (line: string) => void = () => {},
): void {
  const stopping: string[] = [];
  for (const { slug, version, findings, notes } of analyses) {
    for (const finding of findings) {
      const line = findingLine(`${slug} ${version}`, finding);
      if (settings[finding.kind] === "fail") stopping.push(line);
      else tell(`warning: ${line}`);
    }
    for (const note of notes) tell(`warning: ${slug} ${version}: ${note}`);
  }
  if (stopping.length === 0) return;
  throw new UserError(
    `${stopping.join("\n")}\nNothing was deployed, as "analysis" in the stack's configuration says. What is meant as it is goes into its list ` +
      '"ignore", with what stands in brackets as id, and a reason (docs/sites.md, "What is looked at in a release").',
  );
}

/** Whether something that is found can stop a deployment. */
export function mayStop(settings: AnalysisSettings): boolean {
  return kinds.some((kind) => settings[kind] === "fail");
}

/** A finding as a person reads it. */
export function findingLine(name: string, { id, where, what, fix }: Finding): string {
  return `${name}: ${where} ${what}. ${fix} [${id}]`;
}

/** The files decide, and the rules. */
function digestOf({ artifactDigest, immutable }: Release): string {
  return sha256(
    JSON.stringify([scanNumber, artifactDigest, immutable.map(({ service, digest }) => [service, digest])]),
  );
}

interface Known {
  readonly scan: ScanResult;
  /** As many as packages. */
  readonly answers: readonly (Answer | undefined)[];
  /** Whether some are missing or old. */
  readonly toAsk: boolean;
}

async function look(result: string, advisories: string | undefined): Promise<Known | undefined> {
  const text = await readFile(result, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const scan = JSON.parse(text) as ScanResult;
  if (advisories === undefined) return { scan, answers: [], toAsk: false };
  const answers = await Promise.all(scan.packages.map((each) => readAnswer(advisories, each)));
  return { scan, answers, toAsk: answers.some((answer) => answer === undefined || isOld(answer)) };
}

/** @returns why it ended badly, if it did */
async function runScan(request: ScanRequest, environment?: NodeJS.ProcessEnv): Promise<string | undefined> {
  const program = join(import.meta.dirname, "scan.ts");
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program], {
    env: childEnvironment(environment),
    stdio: ["pipe", "ignore", "pipe"],
    timeout: patience,
    killSignal: "SIGKILL",
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    errors += part;
  });
  // Should it end early, its exit code tells.
  child.stdin.on("error", () => {}).end(JSON.stringify(request));
  const code = await new Promise<number | null>((resolve) => {
    child.on("error", (error) => {
      errors += error.message;
      resolve(1);
    });
    child.on("close", resolve);
  });
  if (code === 0) return undefined;
  return /^\w*Error: .*/m.exec(errors)?.[0] ?? `the scan ended with ${code ?? "a kill"}`;
}

function packageFindings({ name, version, path }: LockedPackage, answer: Answer | undefined): Finding[] {
  return (answer?.advisories ?? []).map(({ id, aliases, summary, fixedIn }) => {
    const also = aliases.find((alias) => alias.startsWith("CVE-"));
    const what = `has ${name} ${version}, which has a known fault${summary === "" ? "" : `: ${summary.replace(/\.$/, "")}`}`;
    const fix = fixedIn
      ? `Raise it to ${fixedIn} or newer.`
      : "No version without it is known yet: see whether it concerns you.";
    return { kind: "packages", id, aliases, where: path, what: also ? `${what} (${also})` : what, fix };
  });
}

function packageNotes(
  packages: readonly LockedPackage[],
  answers: readonly (Answer | undefined)[],
  failure: string | undefined,
): string[] {
  const why = failure === undefined ? "" : ` (${failure})`;
  const missing = packages
    .filter((_, index) => answers[index] === undefined)
    .map(({ name, version }) => `${name} ${version}`);
  const asked = answers.filter((answer) => answer !== undefined);
  const oldest = answers.flatMap((answer) => (answer && isOld(answer) ? [Date.parse(answer.asked)] : [])).sort()[0];
  const notes: string[] = [];
  if (missing.length > 0) notes.push(`nobody could be asked about known faults of ${missing.join(", ")}${why}`);
  if (oldest !== undefined) notes.push(`what is known of its packages is ${days(Date.now() - oldest)} old${why}`);
  // One's own packages it need not know.
  if (asked.length > 0 && asked.every(({ isKnown }) => !isKnown)) {
    notes.push("the source of advisories knows none of its packages: is it a mirror without PyPI's JSON API?");
  }
  return notes;
}

function days(milliseconds: number): string {
  const count = Math.floor(milliseconds / answerAge);
  return count <= 1 ? "more than a day" : `${count} days`;
}

function isIgnored({ id, aliases }: Finding, slug: string, { ignore }: AnalysisSettings): boolean {
  return ignore.some(
    ({ id: ignored, site }) => [id, ...aliases].includes(ignored) && (site === undefined || site === slug),
  );
}
