import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { sha256 } from "./archive.ts";
import { isSiteFile, slugOfSiteFile } from "./names.ts";
import type { RedisDirectives } from "./redis.ts";
import {
  otherProblems,
  problemLine,
  type RawSiteFile,
  type SiteProblem,
  schemaPath,
  schemaProblems,
  unknownKeys,
  withoutEffect,
} from "./site-problems.ts";
import { UserError } from "./user-error.ts";

export interface NameAndValue {
  readonly name: string;
  readonly value: string;
}

/** A variable of the site file. */
export interface EnvEntry extends NameAndValue {
  /** Command whose output is the value; until the release is built, the value is empty. It wins over a value in the file. */
  readonly cmd?: string;
}

/** A service as the site file has it. Fields that only the other kind of service has are absent. */
export interface ServiceEntry {
  readonly name: string;
  readonly lang: "immutable" | "python" | "chill";
  readonly handler: string;
  readonly environment: readonly NameAndValue[];
  readonly workers?: number;
  readonly workers_minimum?: number;
  readonly workers_maximum?: number;
  readonly healthcheck?: { readonly path: string; readonly status?: number | string; readonly timeout?: number };
  readonly worker_class?: "sync" | "gevent" | "uvicorn.workers.UvicornWorker";
  readonly max_requests?: number;
  readonly max_requests_jitter?: number;
  readonly log_level?: "debug" | "info" | "warning" | "error" | "critical";
  readonly niceness?: number;
  readonly secrets_config?: string;
}

/** A worker as the site file has it. */
export interface WorkerEntry {
  readonly name: string;
  readonly lang: "python-worker";
  readonly handler: string;
  readonly "run-cmd": string;
  readonly environment?: readonly NameAndValue[];
  readonly count?: number;
  readonly niceness?: number;
  readonly secrets_config?: string;
}

/** A checked site file. */
export interface SiteFile {
  readonly slug: string;
  /** Absolute path of the file. */
  readonly path: string;
  /** SHA-256 in hex of the schema and the file's text. */
  readonly digest: string;
  readonly name: string;
  readonly serverName: string;
  readonly domains: readonly string[];
  /** As written: see `release.ts`. */
  readonly release: string;
  /** Fallback for a release whose Makefile tells no version. */
  readonly version?: string;
  readonly env: readonly EnvEntry[];
  readonly services: readonly ServiceEntry[];
  readonly workers: readonly WorkerEntry[];
  /** As written: see `crontab.ts`. */
  readonly crontab?: readonly string[];
  /** Directives of its own Redis, if it has one. */
  readonly redis?: RedisDirectives;
  /** About keys without effect: nothing fails because of them. */
  readonly warnings: readonly string[];
}

export interface ReadSiteOptions {
  /** Folder in which `rememberChecked` noted which texts fit the schema. Without it every file is checked anew. */
  readonly checkedFolder?: string;
}

/**
 * Reads all site files of a folder, in the order of their slugs.
 * @throws UserError with every problem of every file, or when two sites want the same domain
 */
export async function readSiteFiles(folder: string, options: ReadSiteOptions = {}): Promise<SiteFile[]> {
  const names = await readdir(folder).catch(() => {
    throw new UserError(
      `The folder of the site files, ${folder}, cannot be read. Make it, or set "sitesFolder" to the right one.`,
    );
  });
  const sites: SiteFile[] = [];
  const problems: string[] = [];
  for (const name of names.filter(isSiteFile).sort()) {
    try {
      sites.push(await readSiteFile(join(folder, name), options));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problems.push(error.message);
    }
  }
  problems.push(...sharedDomains(sites));
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return sites;
}

/**
 * Reads and checks one site file.
 * @throws UserError with every problem of the file, one a line
 */
export async function readSiteFile(path: string, options: ReadSiteOptions = {}): Promise<SiteFile> {
  const slug = slugOfSiteFile(path.slice(path.lastIndexOf("/") + 1));
  const file = relative(process.cwd(), path).startsWith("..") ? path : relative(process.cwd(), path);
  const text = await readFile(path, "utf8");
  const content = parseJson(text, file);
  const digest = sha256(`${await readFile(schemaPath, "utf8")}\0${text}`);
  await checkAgainstSchema(content, file, options.checkedFolder && join(options.checkedFolder, digest));
  const raw = content as RawSiteFile;
  refuse(otherProblems(raw), file);
  return {
    slug,
    path,
    digest,
    name: raw.name,
    serverName: raw.server_name,
    domains: raw.domain_list,
    release: raw.release,
    ...(raw.version === undefined ? {} : { version: raw.version }),
    env: (raw.env ?? []).map(({ name, value = "", cmd }) =>
      cmd === undefined ? { name, value } : { name, value: "", cmd },
    ),
    services: (raw.services ?? []) as ServiceEntry[],
    workers: (raw.workers ?? []) as WorkerEntry[],
    ...(raw.crontab === undefined ? {} : { crontab: raw.crontab }),
    ...(raw.redis === undefined ? {} : { redis: raw.redis }),
    warnings: [...(await unknownKeys(content)), ...withoutEffect(raw)].map((each) => `${file}: ${problemLine(each)}`),
  };
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file} is not valid JSON: ${(error as Error).message}.`);
  }
}

/**
 * Compiling the schema takes a tenth of a second, the most of what a run without changes does here. The outcome depends on two texts
 * alone, so a good one can be remembered under their digest.
 */
async function checkAgainstSchema(content: unknown, file: string, mark: string | undefined): Promise<void> {
  if (mark !== undefined && existsSync(mark)) return;
  refuse(await schemaProblems(content), file);
}

function refuse(problems: readonly SiteProblem[], file: string): void {
  if (problems.length > 0) throw new UserError(problems.map((each) => `${file}: ${problemLine(each)}`).join("\n"));
}

/** Remembers that these site files fit the schema: an empty file each. Call it when all else is good, too. */
export async function rememberChecked(sites: readonly SiteFile[], folder: string): Promise<void> {
  const marks = sites.map(({ digest }) => join(folder, digest)).filter((mark) => !existsSync(mark));
  if (marks.length > 0) await mkdir(folder, { recursive: true });
  for (const mark of marks) await writeFile(mark, "");
}

function sharedDomains(sites: readonly SiteFile[]): string[] {
  const owners = new Map<string, string>();
  const problems: string[] = [];
  for (const { slug, domains } of sites) {
    for (const domain of domains) {
      const owner = owners.get(domain);
      if (owner !== undefined)
        problems.push(`The sites "${owner}" and "${slug}" both have the domain ${domain}. Take it out of one.`);
      owners.set(domain, slug);
    }
  }
  return problems;
}
