import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pLimit from "p-limit";
import { sha256 } from "../archive.ts";
import { cacheFolder } from "../cache-folder.ts";
import { compareVersions } from "./packages.ts";

/** A known fault of a version of a package, as PyPI tells it from OSV's data. */
export interface Advisory {
  /** Such as `PYSEC-2014-8`. */
  readonly id: string;
  /** The same fault elsewhere, such as `CVE-2014-1402`. */
  readonly aliases: readonly string[];
  readonly summary: string;
  /** The first version without it that comes after the one asked for. */
  readonly fixedIn?: string;
}

/** What the source said of one version of a package. */
export interface Answer {
  readonly format: 1;
  /** When, ISO 8601. */
  readonly asked: string;
  /** Whether the source knows this version at all: it does not know a package of one's own. */
  readonly isKnown: boolean;
  readonly advisories: readonly Advisory[];
}

type Package = { readonly name: string; readonly version: string };

/** Milliseconds after which an answer is asked for again, and after which a source that did not answer is tried again. */
export const answerAge = 24 * 3_600_000;
const retryAge = 3_600_000;
/** Milliseconds that asking may take, whatever the number of packages. */
const patience = 3_000;
const parallel = 8;
const mostBytes = 20_000_000;

/** https://docs.pypi.org/api/json/ */
interface PypiRelease {
  readonly vulnerabilities?: readonly {
    readonly id: string;
    readonly aliases?: readonly string[];
    readonly summary?: string | null;
    readonly details?: string | null;
    readonly fixed_in?: readonly string[];
    readonly withdrawn?: string | null;
  }[];
}

/** Where the answers of a source are kept: one file for each version of a package. All copies of chillbox share them. */
export function advisoriesFolder(source: string, environment: NodeJS.ProcessEnv = process.env): string {
  return join(cacheFolder(environment), "advisories", sha256(source).slice(0, 12));
}

/** What is kept about a package, however old. */
export async function readAnswer(folder: string, { name, version }: Package): Promise<Answer | undefined> {
  return read<Answer>(join(folder, `${name}-${version}.json`));
}

/** Why the source could not be asked the last time, if it was a short while ago. */
export async function readFailure(folder: string): Promise<string | undefined> {
  const failure = await read<{ at: string; reason: string }>(join(folder, "failure.json"));
  return failure && Date.now() - Date.parse(failure.at) < retryAge ? failure.reason : undefined;
}

export function isOld({ asked }: Answer): boolean {
  return !(Date.now() - Date.parse(asked) < answerAge);
}

/**
 * Asks the source about packages and keeps what it says. A source that cannot be reached is no error: what was kept stays, and it is left
 * alone for an hour. Takes three seconds at most.
 * @param source base URL of PyPI's JSON API
 */
export async function askAdvisories(packages: readonly Package[], source: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  const signal = AbortSignal.timeout(patience);
  const limit = pLimit(parallel);
  let reason: string | undefined;
  await Promise.all(
    packages.map((each) =>
      limit(async () => {
        if (reason !== undefined) return;
        try {
          await write(join(folder, `${each.name}-${each.version}.json`), await ask(each, source, signal));
        } catch (error) {
          reason ??= reasonOf(error as Error);
        }
      }),
    ),
  );
  if (reason !== undefined) await write(join(folder, "failure.json"), { at: new Date().toISOString(), reason });
}

async function ask({ name, version }: Package, source: string, signal: AbortSignal): Promise<Answer> {
  const url = `${source}/${encodeURIComponent(name)}/${encodeURIComponent(version)}/json`;
  const response = await fetch(url, { signal, headers: { accept: "application/json" } });
  const asked = new Date().toISOString();
  if (response.status === 404) {
    await response.body?.cancel();
    return { format: 1, asked, isKnown: false, advisories: [] };
  }
  if (!response.ok) throw new Error(`${new URL(url).host} answers ${response.status}`);
  const text = await response.text();
  if (text.length > mostBytes) throw new Error(`${new URL(url).host} answers with more than ${mostBytes} bytes`);
  const { vulnerabilities = [] } = JSON.parse(text) as PypiRelease;
  const advisories = vulnerabilities
    .filter(({ withdrawn }) => !withdrawn)
    .map(({ id, aliases = [], summary, details, fixed_in = [] }): Advisory => {
      const [fixedIn] = fixed_in.filter((fixed) => compareVersions(fixed, version) > 0).sort(compareVersions);
      return { id, aliases, summary: firstSentence(summary || details || ""), ...(fixedIn ? { fixedIn } : {}) };
    });
  return { format: 1, asked, isKnown: true, advisories };
}

function firstSentence(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: nothing of a stranger's text may steer a terminal
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f]+/g, " ").trim();
  const sentence = /^.*?[.!?](?= |$)/.exec(plain)?.[0] ?? plain;
  return sentence.length > 120 ? `${sentence.slice(0, 119).trimEnd()}…` : sentence;
}

function reasonOf(error: Error): string {
  if (error.name === "TimeoutError") return `no answer within ${patience / 1000} s`;
  const { cause } = error as { cause?: { code?: string; message?: string } };
  return cause?.code ?? cause?.message ?? error.message;
}

async function read<Content>(path: string): Promise<Content | undefined> {
  const text = await readFile(path, "utf8").catch(() => undefined);
  try {
    return text === undefined ? undefined : (JSON.parse(text) as Content);
  } catch {
    return undefined;
  }
}

/** Renamed into place: others may read at the same time. */
async function write(path: string, content: unknown): Promise<void> {
  const part = `${path}.part-${process.pid}-${randomBytes(4).toString("hex")}`;
  await writeFile(part, `${JSON.stringify(content)}\n`);
  await rename(part, path);
}
