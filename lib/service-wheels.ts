import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { extract } from "tar";
import { readArchive, sha256, type TreeEntry } from "./archive.ts";
import { cacheFolder } from "./cache-folder.ts";
import { fillOnce, isThere } from "./fill-once.ts";
import { runPip, runPython, type ServerPython, targetOptions } from "./pip.ts";
import { UserError } from "./user-error.ts";
import { type CarriedSet, carriedSet, requirementsFile } from "./wheels.ts";

/** A service that the server installs with pip. */
export interface PipService {
  readonly name: string;
  /** What it finds of the packages that chillbox carries. */
  readonly carried: readonly CarriedSet[];
  /** A package that its own requirements have to bring. */
  readonly needs?: string;
}

export interface ProveOptions {
  readonly repository: string;
  readonly slug: string;
  readonly version: string;
  /** The site's artifact, checked before. */
  readonly artifactPath: string;
  readonly services: readonly PipService[];
  readonly server: ServerPython;
  /** Whether wheels that the release lacks are fetched (config `fetchWheels`). */
  readonly fetchWheels: boolean;
  readonly log?: (line: string) => void;
  readonly environment?: NodeJS.ProcessEnv;
}

/** A wheel that was fetched because the release lacks it. */
export interface FetchedWheel {
  readonly service: string;
  /** Absolute path of the file. */
  readonly path: string;
}

/** Where the server looks for them, in the service's folder (`chillbox-venv`). */
export const fetchedFolder = "chillbox-wheels";

/** The files that name what a service's own folder needs. */
const ownFolder = "its pyproject.toml or setup.cfg";

/** Raised when the check changes, so that nothing counts as proven that an older one passed. */
const checkNumber = 1;

/** Services and workers of a site that the server installs with pip, by what the site file says of them. */
export function pipServices(
  entries: readonly { name: string; lang: string; worker_class?: string | undefined }[],
): PipService[] {
  return entries
    .filter(({ lang }) => lang !== "immutable")
    .map(({ name, lang, worker_class }) => ({
      name,
      carried: ["base", ...(lang === "chill" ? ["chill" as const] : isAsgi(worker_class) ? ["asgi" as const] : [])],
      ...(worker_class === "gevent" ? { needs: "gevent" } : {}),
    }));
}

function isAsgi(workerClass: string | undefined): boolean {
  return workerClass === "uvicorn.workers.UvicornWorker";
}

/**
 * Proves that pip, on the server and without an index, will find every package that a site's services require, for the server's Python
 * and platform and with the right hashes. What was proven once is not tried again as long as nothing that matters changes.
 * @returns wheels to be added to the release; none unless `fetchWheels`
 * @throws UserError naming site, service, package and platform, and the way out
 */
export async function proveWheels(options: ProveOptions): Promise<FetchedWheel[]> {
  const entries = await readArchive(options.artifactPath, { topFolder: options.slug });
  const fetched: FetchedWheel[] = [];
  for (const service of options.services) {
    if (service.needs === undefined && !hasPackages(options, service, entries)) continue;
    const folder = join(
      cacheFolder(options.environment),
      "wheels",
      "proofs",
      await proofKey(options, service, entries),
    );
    if (!(await isThere(folder))) await fillOnce(folder, (temporary) => proveService(options, service, temporary));
    for (const name of (await readdir(folder)).sort())
      fetched.push({ service: service.name, path: join(folder, name) });
  }
  return fetched;
}

/** Whether the server calls pip for the service at all. */
function hasPackages({ slug }: ProveOptions, { name }: PipService, entries: readonly TreeEntry[]): boolean {
  const files = ["requirements.txt", "pyproject.toml", "setup.py"].map((file) => `${slug}/${name}/${file}`);
  return entries.some(({ path }) => files.includes(path));
}

/** Digest of all that the outcome follows from: requirements, wheels, the server, what is carried. */
async function proofKey(options: ProveOptions, service: PipService, entries: readonly TreeEntry[]): Promise<string> {
  const prefix = `${options.slug}/${service.name}/`;
  const matters = /\.(txt|in|toml|cfg|whl|tgz|tar\.gz|zip)$|\/setup\.py$/;
  const files = entries
    .filter(({ path }) => path.startsWith(prefix) && matters.test(path))
    .map(({ path, hash }) => [path.slice(prefix.length), hash])
    .sort();
  const carried = await Promise.all(service.carried.map((set) => readList(options, set)));
  const { server, fetchWheels } = options;
  return sha256(JSON.stringify([checkNumber, server, fetchWheels, service.needs, carried, files])).slice(0, 32);
}

function readList({ repository }: ProveOptions, set: CarriedSet): Promise<string> {
  return readFile(join(repository, requirementsFile(set)), "utf8");
}

/** What the check of one service works with. */
interface Check {
  readonly options: ProveOptions;
  readonly service: PipService;
  /** A copy of the service's folder. */
  readonly folder: string;
  /** Temporary: `installed/`, `stubs/`, and what steps leave for each other. */
  readonly work: string;
  /** Gets the wheels that are fetched. */
  readonly target: string;
  readonly base: string;
  readonly archives: readonly { readonly path: string; readonly name: string; readonly version: string }[];
}

interface Resolved {
  readonly name: string;
  readonly version: string;
  readonly url: string;
  readonly sha256: string | undefined;
}

/** One call of pip on the server: requirements.txt, then the service's own folder. */
interface Step {
  /** What an error calls it. */
  readonly file: string;
  readonly words: readonly string[];
}

async function proveService(options: ProveOptions, service: PipService, target: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), "chillbox-wheels-"));
  try {
    const folder = join(work, "service");
    await copyService(options, service, folder);
    const carried: string[] = [];
    for (const set of service.carried) carried.push(await carriedSet(set, options));
    const prepared = await prepare(options, service, folder, work, carried);
    const check = { options, service, folder, work, target, base: carried[0] ?? "", archives: prepared.archives };
    const found: Resolved[] = [];
    if (prepared.requirements) {
      found.push(...(await proveStep(check, { file: "requirements.txt", words: requirementsWords(check) })));
    }
    if (service.needs !== undefined && !found.some(({ name }) => name.toLowerCase() === service.needs)) {
      throw new UserError(
        `${nameOf(options, service)} has the worker class ${service.needs}, but its requirements.txt does not bring ${service.needs}. Add it there, with its wheels.`,
      );
    }
    if (prepared.dependencies.length > 0) {
      const words = await ownFolderWords(check, found, prepared.dependencies);
      await proveStep(check, { file: ownFolder, words });
    }
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function copyService({ artifactPath, slug }: ProveOptions, { name }: PipService, folder: string): Promise<void> {
  const prefix = `${slug}/${name}/`;
  await mkdir(folder);
  await extract({
    file: artifactPath,
    cwd: folder,
    strip: 2,
    filter: (path) => path.replace(/^\.\//, "").startsWith(prefix),
    preserveOwner: false,
  });
}

interface Prepared {
  readonly requirements: boolean;
  readonly dependencies: readonly string[];
  readonly archives: Check["archives"];
}

async function prepare(
  options: ProveOptions,
  service: PipService,
  folder: string,
  work: string,
  carried: readonly string[],
): Promise<Prepared> {
  const script = join(import.meta.dirname, "prepare-service.py");
  const { code, out, errors } = await runPython([script, folder, work, ...carried]);
  if (code !== 0) throw new UserError(`${nameOf(options, service)}: ${errors.trim().split("\n").at(-1)}`);
  return JSON.parse(out) as Prepared;
}

function requirementsWords({ folder, work }: Check): string[] {
  return ["--find-links", join(work, "stubs"), "--requirement", join(folder, "requirements.txt")];
}

/** The own folder is installed last: what it needs has to be there by then, so only what the first step found counts. */
async function ownFolderWords(
  { work }: Check,
  found: readonly Resolved[],
  dependencies: readonly string[],
): Promise<string[]> {
  const folder = join(work, "found");
  await mkdir(folder);
  for (const { url } of found) {
    if (url.startsWith("file:")) await symlink(fileURLToPath(url), join(folder, basename(fileURLToPath(url))));
  }
  const file = join(work, "own.txt");
  await writeFile(file, `${dependencies.join("\n")}\n`);
  return ["--find-links", folder, "--requirement", file];
}

/** @returns what pip would install */
async function proveStep(check: Check, step: Step): Promise<readonly Resolved[]> {
  const { options, service } = check;
  const first = await resolve(check, step.words, false);
  if (first.found) return first.found;
  if (!options.fetchWheels) throw new UserError(explain(check, step, first.errors));
  options.log?.(`${nameOf(options, service)}: fetching the wheels that the release lacks`);
  const online = await resolve(check, [...step.words, ...(await constraints(check, step))], true);
  if (!online.found) throw new UserError(explain(check, step, online.errors));
  const missing = online.found.filter(({ url }) => !url.startsWith("file:"));
  await fetchExactly(check, missing);
  const last = await resolve(check, step.words, false);
  if (!last.found) throw new UserError(explain(check, step, last.errors));
  return last.found;
}

async function resolve(
  { options, base, folder, work, target }: Check,
  words: readonly string[],
  network: boolean,
): Promise<{ found?: readonly Resolved[]; errors: string }> {
  const offline = network ? [] : ["--no-index"];
  const line = ["install", "--dry-run", "--quiet", "--report=-", ...offline, ...targetOptions(options.server)];
  const result = await runPip([...line, "--find-links", target, ...words], {
    wheels: base,
    server: options.server,
    network,
    cwd: folder,
    installed: join(work, "installed"),
    ...(options.environment ? { environment: options.environment } : {}),
  });
  if (result.code !== 0) return { errors: result.errors };
  const report = JSON.parse(result.out) as { install: ReportItem[] };
  const found = report.install.map(({ metadata, download_info: { url, archive_info } }) => {
    return { name: metadata.name, version: metadata.version, url, sha256: archive_info?.hashes?.sha256 };
  });
  return { found, errors: "" };
}

/** An installation report's item: https://pip.pypa.io/en/stable/reference/installation-report/ */
interface ReportItem {
  readonly metadata: { readonly name: string; readonly version: string };
  readonly download_info: {
    readonly url: string;
    readonly archive_info?: { readonly hashes?: { readonly sha256?: string } };
  };
}

/** What the release has for another platform is wanted in the same version, and what it has for this one is not replaced. */
async function constraints({ archives, work }: Check, step: Step): Promise<string[]> {
  const versions = new Map<string, Set<string>>();
  for (const { name, version } of archives) versions.set(name, (versions.get(name) ?? new Set()).add(version));
  const single = [...versions].filter(([, all]) => all.size === 1).map(([name, all]) => `${name}==${[...all][0]}\n`);
  const file = join(work, `${sha256(step.file).slice(0, 8)}-constraints.txt`);
  await writeFile(file, single.join(""));
  return ["--constraint", file];
}

/** Fetches what pip has chosen, by the hashes that it saw. */
async function fetchExactly(check: Check, missing: readonly Resolved[]): Promise<void> {
  const { options, base, work, target } = check;
  const list = join(work, "missing.txt");
  // An index without hashes is rare, and pip wants all of them or none.
  const known = missing.every(({ sha256 }) => sha256 !== undefined);
  const lines = missing.map(
    ({ name, version, sha256 }) => `${name}==${version}${known ? ` --hash=sha256:${sha256}` : ""}\n`,
  );
  await writeFile(list, lines.join(""));
  const words = ["download", "--quiet", "--no-deps", ...targetOptions(options.server)];
  const result = await runPip([...words, "--dest", target, "--requirement", list], {
    wheels: base,
    server: options.server,
    network: true,
    ...(options.environment ? { environment: options.environment } : {}),
  });
  if (result.code !== 0) throw new UserError(`${nameOf(options, check.service)}: ${lastLines(result.errors)}`);
  for (const name of await readdir(target)) options.log?.(`${nameOf(options, check.service)}: fetched ${name}`);
}

function nameOf({ slug, version }: ProveOptions, { name }: PipService): string {
  return `${slug} ${version}: the service "${name}"`;
}

/** What pip's error means for the person who released the site. */
function explain(check: Check, { file }: Step, errors: string): string {
  const { options, service, archives } = check;
  const { server } = options;
  const target = `Python ${server.python} on ${server.platforms[0]}`;
  const start = `${nameOf(options, service)} cannot be installed on the server (${target})`;
  const requirement = /No matching distribution found for ([^\n]+)/.exec(errors)?.[1];
  if (requirement !== undefined) {
    const name = /^[\w.-]+/.exec(requirement)?.[0] ?? requirement;
    const others = archives.filter((archive) => archive.name === name.replace(/[-_.]+/g, "-").toLowerCase());
    const files = others.map(({ path }) => path).join(", ");
    const there =
      file === ownFolder
        ? "It has to be installed before: name it in requirements.txt."
        : others.length > 0
          ? `The release has ${files}, which is for another version, Python or platform.`
          : "The release has no file of it.";
    return `${start}: it lacks ${requirement.trim()}, which ${file} asks for. ${there} ${wayOut(options)}`;
  }
  if (/DO NOT MATCH THE HASHES/.test(errors)) {
    return `${start}: a file of the release has not the hash that requirements.txt names:\n  ${lastLines(errors)}\nPut the file there that was meant, or its hash into requirements.txt.`;
  }
  return `${start}: pip does not take ${file}:\n  ${lastLines(errors)}`;
}

function wayOut({ server, fetchWheels }: ProveOptions): string {
  if (fetchWheels) return "The package index has none either: name a version that has a wheel for this server.";
  const platform = server.platforms.find((name) => /_2_17_|musllinux_1_2_/.test(name)) ?? server.platforms[0];
  return (
    "Put its wheel into the release (in the service's folder: pip download --only-binary=:all: " +
    `--python-version ${server.python} --platform ${platform} --dest dep --requirement requirements.txt), ` +
    "or let chillbox fetch what is missing: pulumi config set fetchWheels true"
  );
}

function lastLines(errors: string): string {
  const lines = errors.split("\n").map((line) => line.trim());
  return lines
    .filter((line) => line !== "")
    .slice(-8)
    .join("\n  ");
}
