import { randomBytes } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { get as httpGet, type IncomingMessage } from "node:http";
import { get as httpsGet } from "node:https";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { hashFile, sha256 } from "./archive.ts";
import { isAlive } from "./processes.ts";
import { UserError } from "./user-error.ts";

export interface DownloadOptions {
  /** Absolute path of the folder of all downloads; made if it is missing. */
  readonly folder: string;
  readonly limits?: Partial<DownloadLimits>;
  readonly log?: (line: string) => void;
}

export interface DownloadLimits {
  /** Default 512 MiB. */
  readonly bytes: number;
  /** Milliseconds in which nothing may come; default one minute. */
  readonly idle: number;
  /** Milliseconds for all of it; default a quarter of an hour. */
  readonly total: number;
  /** Times that it is begun or gone on with; default 4. */
  readonly attempts: number;
}

export interface Download {
  /** Absolute path of the file. */
  readonly path: string;
  /** In hex; the file has just been compared with it. */
  readonly sha256: string;
  /** Whether the server gave other content than what was kept. */
  readonly isNew: boolean;
}

/** What is kept of a file: `record.json` in the URL's folder, which names the file beside it. */
interface DownloadRecord {
  readonly format: 1;
  readonly etag?: string;
  readonly lastModified?: string;
  readonly sha256: string;
}

/** By what a server tells whether a file is still the same. */
type Validators = Pick<DownloadRecord, "etag" | "lastModified">;

/** One run's work on one URL. */
interface Job {
  readonly url: URL;
  /** Folder of the file's first part, which is this process's own. */
  readonly part: string;
  readonly limits: DownloadLimits;
  readonly deadline: AbortSignal;
}

const defaultLimits: DownloadLimits = { bytes: 512 * 1024 * 1024, idle: 60_000, total: 900_000, attempts: 4 };
const mostRedirects = 5;
/** Milliseconds before the second attempt; each further one waits twice as long. */
const firstDelay = 250;
const partPrefix = "part-";
const leftPart = "part-left";

/** Something that may be different at the next attempt. */
class Interrupted extends Error {}

/**
 * The file that a URL leads to. What was fetched before is kept: the server is asked whether it is still the same. A download that was
 * cut off, also in a run that was killed, goes on where it stopped if the server says that the file is still the same.
 * @throws UserError when there is no such file, it is too big, or the server is not there and nothing is kept
 */
export async function download(address: string, options: DownloadOptions): Promise<Download> {
  const log = options.log ?? (() => {});
  const url = readUrl(address);
  const limits = { ...defaultLimits, ...options.limits };
  const folder = join(options.folder, sha256(url.href).slice(0, 32));
  const kept = await readKept(folder);
  await mkdir(folder, { recursive: true });
  const part = await takePart(folder);
  try {
    const fetched = await fetchWithRetries({ url, part, limits, deadline: AbortSignal.timeout(limits.total) }, kept);
    if (fetched === "unchanged" && kept) return { ...keptFile(folder, kept), isNew: false };
    if (fetched === "unchanged") throw new UserError(`${shownUrl(url)}: the server answers 304 without being asked.`);
    const record = await keep(folder, part, fetched);
    if (kept && kept.sha256 !== record.sha256) log(`${shownUrl(url)} gives another file than the last time.`);
    return { ...keptFile(folder, record), isNew: kept?.sha256 !== record.sha256 };
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    await leavePart(folder, part);
    const problem = `${shownUrl(url)}: ${error.message}`;
    if (!kept) throw new UserError(`${problem}. Check the address and the network, then try again.`);
    log(`warning: ${problem}. The file of the last time is used.`);
    return { ...keptFile(folder, kept), isNew: false };
  } finally {
    await rm(part, { recursive: true, force: true });
    // A refused first download leaves no trace; rmdir takes nothing that holds something.
    await rmdir(folder).catch(() => {});
    await rmdir(options.folder).catch(() => {});
  }
}

/** A URL without what may be secret in it. */
export function shownUrl(url: URL | string): string {
  const { origin, pathname } = new URL(url);
  return `${origin}${pathname}`;
}

function readUrl(address: string): URL {
  if (!URL.canParse(address)) throw new UserError(`"${address}" is not a URL.`);
  return new URL(address);
}

function keptFile(folder: string, record: DownloadRecord) {
  return { path: join(folder, record.sha256), sha256: record.sha256 };
}

/** The record of a kept file that still has the content of which the record tells. */
async function readKept(folder: string): Promise<DownloadRecord | undefined> {
  const text = await readFile(join(folder, "record.json"), "utf8").catch(() => undefined);
  const record = text === undefined ? undefined : (JSON.parse(text) as DownloadRecord);
  if (record?.format !== 1) return undefined;
  const digest = await hashFile(join(folder, record.sha256)).catch(() => undefined);
  return digest === record.sha256 ? record : undefined;
}

/** A folder for a part that is nobody else's: one that was left, or a new one. */
async function takePart(folder: string): Promise<string> {
  const own = join(folder, `${partPrefix}${process.pid}-${randomBytes(4).toString("hex")}`);
  for (const name of await readdir(folder)) {
    const pid = /^part-(\d+)-/.exec(name)?.[1];
    if (!name.startsWith(partPrefix) || (pid !== undefined && isAlive(Number(pid)))) continue;
    await rename(join(folder, name), own).catch(() => rm(join(folder, name), { recursive: true, force: true }));
  }
  await mkdir(own, { recursive: true });
  return own;
}

/** Leaves what has come of a file to the next run, if it can go on with it. */
async function leavePart(folder: string, part: string): Promise<void> {
  if ((await readPart(part)) === undefined) return;
  await rm(join(folder, leftPart), { recursive: true, force: true });
  await rename(part, join(folder, leftPart));
}

/** Lays a whole file beside the record, which is written last. */
async function keep(folder: string, part: string, validators: Validators): Promise<DownloadRecord> {
  const record: DownloadRecord = { format: 1, ...validators, sha256: await hashFile(join(part, "data")) };
  await rename(join(part, "data"), join(folder, record.sha256));
  const temporary = join(part, "record.json");
  await writeFile(temporary, `${JSON.stringify(record, undefined, 2)}\n`, { flush: true });
  await rename(temporary, join(folder, "record.json"));
  const old = (await readdir(folder)).filter((name) => /^[0-9a-f]{64}$/.test(name) && name !== record.sha256);
  for (const name of old) await rm(join(folder, name), { force: true });
  return record;
}

async function fetchWithRetries(job: Job, kept: DownloadRecord | undefined): Promise<Validators | "unchanged"> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fetchOnce(job, kept);
    } catch (error) {
      if (job.deadline.aborted) throw new Interrupted(`it took more than ${job.limits.total / 1000} s`);
      if (!(error instanceof Interrupted) || attempt >= job.limits.attempts) throw error;
      await sleep(firstDelay * 2 ** (attempt - 1));
    }
  }
}

async function fetchOnce(job: Job, kept: DownloadRecord | undefined): Promise<Validators | "unchanged"> {
  const begun = await readPart(job.part);
  const response = await ask(job, begun ? resuming(begun) : comparing(kept));
  try {
    const status = response.statusCode ?? 0;
    if (status === 304) return "unchanged";
    const goesOn = begun !== undefined && continuesAt(response, begun.size);
    if (status === 416 || (status === 206 && !goesOn)) {
      await rm(join(job.part, "data"), { force: true });
      throw new Interrupted(`the server cannot go on with the file (${status})`);
    }
    if (status !== 200 && status !== 206) throw refusal(response, job.url);
    const from = goesOn && begun ? begun.size : 0;
    checkSize(from + Number(response.headers["content-length"] ?? 0), job);
    const validators = goesOn && begun ? begun.validators : validatorsOf(response);
    if (!goesOn) await beginPart(job.part, validators);
    await receive(response, job, from);
    return validators;
  } finally {
    response.destroy();
  }
}

interface Part {
  readonly size: number;
  readonly validators: Validators;
}

/** What is there of the file, if the server can be asked to go on with this very content. */
async function readPart(part: string): Promise<Part | undefined> {
  const size = (await stat(join(part, "data")).catch(() => undefined))?.size ?? 0;
  const text = await readFile(join(part, "validators.json"), "utf8").catch(() => undefined);
  if (size === 0 || text === undefined) return undefined;
  const validators = JSON.parse(text) as Validators;
  return ifRange(validators) === undefined ? undefined : { size, validators };
}

/** The name of the content comes before the content: nothing is ever gone on with under another's name. */
async function beginPart(part: string, validators: Validators): Promise<void> {
  await rm(join(part, "data"), { force: true });
  await writeFile(join(part, "validators.json.new"), JSON.stringify(validators));
  await rename(join(part, "validators.json.new"), join(part, "validators.json"));
}

function resuming({ size, validators }: Part): Record<string, string> {
  return { range: `bytes=${size}-`, "if-range": ifRange(validators) ?? "" };
}

/** A weak tag says that two files mean the same, not that they are the same. */
function ifRange({ etag, lastModified }: Validators): string | undefined {
  return etag !== undefined && !etag.startsWith("W/") ? etag : lastModified;
}

function comparing(kept: DownloadRecord | undefined): Record<string, string> {
  if (kept?.etag !== undefined) return { "if-none-match": kept.etag };
  return kept?.lastModified === undefined ? {} : { "if-modified-since": kept.lastModified };
}

function validatorsOf({ headers }: IncomingMessage): Validators {
  const lastModified = headers["last-modified"];
  return {
    ...(headers.etag === undefined ? {} : { etag: headers.etag }),
    ...(lastModified === undefined ? {} : { lastModified }),
  };
}

function continuesAt({ statusCode, headers }: IncomingMessage, size: number): boolean {
  return statusCode === 206 && headers["content-range"]?.startsWith(`bytes ${size}-`) === true;
}

/** Asks for the file and follows redirects. */
async function ask(job: Job, headers: Record<string, string>): Promise<IncomingMessage> {
  let url = job.url;
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const response = await answer(url, headers, job);
    const { location } = response.headers;
    if (![301, 302, 303, 307, 308].includes(response.statusCode ?? 0) || location === undefined) return response;
    response.destroy();
    url = nextUrl(url, location);
  }
  throw new UserError(
    `${shownUrl(job.url)}: there are more than ${mostRedirects} redirects. Give the address they lead to.`,
  );
}

function nextUrl(from: URL, location: string): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from.href) : undefined;
  if (to && (to.protocol === "https:" || to.protocol === from.protocol)) return to;
  throw new UserError(
    `${shownUrl(from)}: it redirects to where chillbox does not follow: ${to?.protocol ?? "no URL"}.`,
  );
}

function answer(url: URL, headers: Record<string, string>, { deadline, limits }: Job): Promise<IncomingMessage> {
  const get = url.protocol === "https:" ? httpsGet : httpGet;
  return new Promise((resolve, reject) => {
    const question = get(url, {
      // The file as it is, whatever else the server could make of it.
      headers: { ...headers, "accept-encoding": "identity", "user-agent": "chillbox" },
      signal: deadline,
      timeout: limits.idle,
      agent: false,
    });
    question.on("timeout", () => question.destroy(new Error(`nothing came for ${limits.idle / 1000} s`)));
    question.on("response", resolve);
    question.on("error", (error) =>
      reject(new Interrupted(error.message || String((error as NodeJS.ErrnoException).code))),
    );
  });
}

function refusal(response: IncomingMessage, url: URL): Error {
  const status = `${response.statusCode} ${response.statusMessage ?? ""}`.trim();
  const said = `the server answers ${status}`;
  if ((response.statusCode ?? 0) >= 500 || response.statusCode === 429) return new Interrupted(said);
  return new UserError(`${shownUrl(url)}: ${said}. Check the address.`);
}

async function receive(response: IncomingMessage, job: Job, from: number): Promise<void> {
  let size = from;
  const counted = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      size += chunk.length;
      checkSize(size, job);
      yield chunk;
    }
  };
  const file = createWriteStream(join(job.part, "data"), { flags: "a", flush: true });
  try {
    await pipeline(response, counted, file);
  } catch (error) {
    if (error instanceof UserError || (error as NodeJS.ErrnoException).code === "ENOSPC") throw error;
    throw new Interrupted(`it was cut off after ${size} bytes`);
  }
}

function checkSize(size: number, { limits, url }: Job): void {
  if (size <= limits.bytes) return;
  throw new UserError(`${shownUrl(url)}: the file is bigger than the ${limits.bytes} bytes allowed.`);
}
