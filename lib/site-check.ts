import { readFile, stat } from "node:fs/promises";
import { basename, dirname, resolve } from "node:path";
import { type JsonPath, type JsonSource, locateSyntaxError, type Position, readJsonSource } from "./json-source.ts";
import { slugOfSiteFile } from "./names.ts";
import { type AllowedCommands, allowCommand, commandsOf, isAllowed } from "./site-commands.ts";
import { otherProblems, type RawSiteFile, type SiteProblem, schemaProblems, unknownKeys } from "./site-problems.ts";
import { UserError } from "./user-error.ts";

/** A problem and where it stands in its file. */
export type LocatedProblem = SiteProblem & Position;

/** A site file with everything that is wrong with it, from top to bottom. */
export interface CheckedSiteFile {
  /** As given. */
  readonly file: string;
  readonly problems: readonly LocatedProblem[];
}

/** A file that could be read as JSON. */
interface ReadFile {
  readonly file: string;
  readonly content: unknown;
  readonly source: JsonSource;
  readonly problems: LocatedProblem[];
}

const start: Position = { line: 1, column: 1 };

/**
 * Checks site files as `up` would before it builds anything, and finds every problem of each. Nothing of the sites runs.
 * @param files paths, absolute or relative to the current folder
 * @param allowed commands of site files that stack `local` allows; others earn a warning
 */
export async function checkSiteFiles(
  files: readonly string[],
  allowed: AllowedCommands = {},
): Promise<CheckedSiteFile[]> {
  const checked: { file: string; problems: LocatedProblem[] }[] = [];
  const owners = new Map<string, string>();
  for (const file of files) {
    const read = await readForCheck(file);
    checked.push(read);
    if (!("content" in read)) continue;
    await checkContent(read, allowed);
    checkDomains(read, owners);
    read.problems.sort((a, b) => a.line - b.line || a.column - b.column);
  }
  return checked;
}

async function readForCheck(file: string): Promise<ReadFile | Omit<ReadFile, "content" | "source">> {
  const problems: LocatedProblem[] = [];
  try {
    slugOfSiteFile(basename(file));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    problems.push(wholeFile(`has the name ${basename(file)}`, error.message));
  }
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => error);
  if (typeof text !== "string") {
    const what = text.code === "ENOENT" ? "does not exist" : `cannot be read (${text.code})`;
    return { file, problems: [...problems, wholeFile(what, "Give the path of a site file.")] };
  }
  try {
    const content: unknown = JSON.parse(text);
    return { file, content, source: readJsonSource(text), problems };
  } catch (error) {
    const { message } = error as Error;
    const problem = wholeFile(
      `is not valid JSON: ${message.split("\n")[0]}`,
      "Mend what stands there, or just before.",
    );
    return { file, problems: [...problems, { ...problem, ...locateSyntaxError(text, message) }] };
  }
}

async function checkContent({ file, content, source, problems }: ReadFile, allowed: AllowedCommands): Promise<void> {
  const found = [...(await schemaProblems(content))];
  if (found.length === 0) {
    const raw = content as RawSiteFile;
    found.push(...otherProblems(raw), ...(await releaseProblems(file, raw.release)));
    found.push(...permissionsLacking(file, raw, allowed));
  }
  found.push(...(await unknownKeys(content)));
  problems.push(...found.map((problem) => ({ ...problem, ...source.locate(problem.path, problem.atKey) })));
  for (const { path, at } of source.duplicates) {
    const what = "is there twice, and only the last one counts";
    problems.push({ severity: "error", path, atKey: true, what, fix: "Take one of them out.", ...at });
  }
}

async function releaseProblems(file: string, release: string): Promise<SiteProblem[]> {
  if (/^https?:\/\//.test(release)) return [];
  const path = resolve(dirname(file), release);
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory() || info?.isFile()) return [];
  const what = `is "${release}", but there is no folder or file ${path}`;
  return [{ severity: "error", path: ["release"], atKey: false, what, fix: "Make it, or give the right path." }];
}

function permissionsLacking(file: string, { env = [] }: RawSiteFile, allowed: AllowedCommands): SiteProblem[] {
  const slug = basename(file).replace(/\.site\.json$/, "");
  if (isAllowed(slug, commandsOf(env), allowed)) return [];
  const what = "is a command that is not allowed to run yet";
  const fix = `Allow it: ${allowCommand(slug, "local")}`;
  return env.flatMap(({ cmd }, index) =>
    cmd === undefined ? [] : [{ severity: "warning", path: ["env", index, "cmd"], atKey: true, what, fix }],
  );
}

/** Two sites cannot answer for one domain. */
function checkDomains({ file, content, source, problems }: ReadFile, owners: Map<string, string>): void {
  const list = (content as { domain_list?: unknown } | null)?.domain_list;
  if (!Array.isArray(list)) return;
  for (const [index, domain] of list.entries()) {
    if (typeof domain !== "string") continue;
    const owner = owners.get(domain);
    if (owner !== undefined && owner !== file) {
      const path: JsonPath = ["domain_list", index];
      const what = `is "${domain}", which ${owner} has, too`;
      const fix = "Take it out of one of the two.";
      problems.push({ severity: "error", path, atKey: false, what, fix, ...source.locate(path) });
    }
    owners.set(domain, file);
  }
}

function wholeFile(what: string, fix: string): LocatedProblem {
  return { severity: "error", path: [], atKey: false, what, fix, ...start };
}
