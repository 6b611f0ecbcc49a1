import { randomBytes } from "node:crypto";
import { cp, mkdir, readdir, readFile, rename, rm, rmdir, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import parseVersion from "semver/functions/parse.js";
import {
  type ArchiveLimits,
  defaultLimits,
  packFolder,
  readArchive,
  readFolder,
  type TreeEntry,
  treeDigest,
  unpackArchive,
} from "./archive.ts";
import { type ProcessResult, runProcess } from "./laptop-process.ts";
import { isAlive } from "./processes.ts";
import { type CommandValue, fillIn, runCommands } from "./site-commands.ts";
import type { NameAndValue, SiteFile } from "./site-file.ts";
import { UserError } from "./user-error.ts";

/** One build of an immutable service: files that never change under their name. */
export interface ImmutableBuild {
  readonly service: string;
  readonly hash: string;
  /** Absolute path of the folder with the files. */
  readonly folder: string;
  /** `treeDigest` of the folder. */
  readonly digest: string;
}

/** A site's release, built and checked, in its folder under `.chillbox/artifacts/`. */
export interface Release {
  readonly slug: string;
  readonly version: string;
  /** Absolute path of the deterministic tar.gz; its top-level folder is the slug. */
  readonly artifactPath: string;
  /** SHA-256 of that file in hex, and its bytes. */
  readonly artifactSha256: string;
  readonly artifactSize: number;
  /** `treeDigest` of what is in it. */
  readonly artifactDigest: string;
  /** Text of the site's nginx template, and what an error calls it. */
  readonly template: string;
  readonly templateName: string;
  readonly immutable: readonly ImmutableBuild[];
  /** The site file's variables, with the values that its commands gave when this version was built. */
  readonly env: readonly NameAndValue[];
}

export interface BuildReleaseOptions {
  /** Folder of all built releases: absolute path of `.chillbox/artifacts`. */
  readonly artifactsFolder: string;
  /** Told what takes a while, and what `make` prints. */
  readonly log?: (line: string) => void;
  /** Called when `make` is at work: the time for what would take this process's own. Not called for what is built already. */
  readonly whileMaking?: () => void;
  /** Most that each of a release's archives may hold; default: `defaultLimits`. */
  readonly limits?: ArchiveLimits;
  /** Seconds that each command of the site file may take; default: `commandSeconds`. */
  readonly commandSeconds?: number;
}

/** What is kept about a build: `release.json` in its folder. Whoever finds that file finds a whole build. */
interface BuildRecord {
  readonly format: 1;
  readonly version: string;
  readonly versionFrom: "make" | "site-file";
  readonly sourceDigest: string;
  readonly artifact: { readonly sha256: string; readonly size: number; readonly digest: string };
  /** Names of the folders directly in the artifact's top-level folder. */
  readonly folders: readonly string[];
  readonly immutable: readonly { readonly service: string; readonly hash: string; readonly digest: string }[];
  /** What the commands of the site file gave: they run once for each version. */
  readonly commands?: readonly CommandValue[];
}

const recordName = "release.json";
export const templateFileName = "nginx.conf.template";
export const artifactFileName = "artifact.tar.gz";
/** No slug begins with a dot. */
const downloadsName = ".downloads";

/**
 * The release of a site, built now if these sources have not been built before. Versions are immutable: sources or commands that differ
 * from those of a built version are refused until the version is raised. Whether the commands may run was asked before.
 * @throws UserError when the release cannot be read or built, or lacks what the site file asks for
 */
export async function buildRelease(site: SiteFile, options: BuildReleaseOptions): Promise<Release> {
  const source = await openSource(site, options);
  const siteFolder = join(options.artifactsFolder, site.slug);
  const record = (await findBuild(siteFolder, site, source.digest)) ?? (await build(site, source, siteFolder, options));
  return readBuild(site, record, siteFolder);
}

/**
 * The release of a site if these sources are built already. Nothing is built or fetched: of a release at a URL nobody knows.
 * @throws UserError when it lacks what the site file asks for
 */
export async function findRelease(site: SiteFile, options: BuildReleaseOptions): Promise<Release | undefined> {
  if (/^https?:\/\//.test(site.release)) return undefined;
  const { digest } = await openSource(site, options);
  const siteFolder = join(options.artifactsFolder, site.slug);
  const record = await findBuild(siteFolder, site, digest);
  return record && readBuild(site, record, siteFolder);
}

async function readBuild(site: SiteFile, record: BuildRecord, siteFolder: string): Promise<Release> {
  const folder = join(siteFolder, record.version);
  const immutable = chooseImmutable(site, record, folder);
  const env = fillIn(site, record.version, record.commands ?? []);
  checkServices(site, record);
  return {
    slug: site.slug,
    version: record.version,
    artifactPath: join(folder, artifactFileName),
    artifactSha256: record.artifact.sha256,
    artifactSize: record.artifact.size,
    artifactDigest: record.artifact.digest,
    template: await readFile(join(folder, templateFileName), "utf8"),
    templateName: `${site.slug} ${record.version}: nginx/templates/${site.slug}.nginx.conf.template`,
    immutable,
    env,
  };
}

interface Source {
  readonly path: string;
  /** What messages call it. */
  readonly name: string;
  readonly kind: "folder" | "archive";
  readonly digest: string;
  readonly entries: readonly TreeEntry[];
}

/** What a build makes or a version control keeps is not part of the sources. */
function isSource(path: string): boolean {
  const name = basename(path);
  return (
    path !== "dist" && name !== ".git" && name !== "__pycache__" && !name.endsWith(".egg-info") && name !== ".DS_Store"
  );
}

async function openSource(site: SiteFile, options: BuildReleaseOptions): Promise<Source> {
  if (/^https?:\/\//.test(site.release)) return openUrl(site, options);
  const path = resolve(dirname(site.path), site.release);
  const info = await stat(path).catch(() => undefined);
  if (info?.isDirectory()) {
    const entries = await readFolder(path, { keep: isSource });
    return { path, name: path, kind: "folder", entries, digest: treeDigest(entries) };
  }
  if (info?.isFile()) return openArchive(path, path, options.limits);
  throw new UserError(`${site.path}: "release" is "${site.release}", but there is no folder or file ${path}.`);
}

async function openUrl(site: SiteFile, { artifactsFolder, log, limits }: BuildReleaseOptions): Promise<Source> {
  // Loaded here, because most sites need no network.
  const { download, shownUrl } = await import("./download.ts");
  try {
    const folder = join(artifactsFolder, downloadsName);
    const { path } = await download(site.release, { folder, ...(log ? { log } : {}) });
    return await openArchive(path, shownUrl(site.release), limits).catch(async (error: unknown) => {
      // Kept, a broken file would be taken for good as long as the server has it.
      await rm(path, { force: true });
      throw error;
    });
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${site.path}: "release": ${error.message}`);
  }
}

async function openArchive(path: string, name: string, limits = defaultLimits): Promise<Source> {
  const entries = await readArchive(path, { name, limits });
  const inside = entries.map((entry) => ({ ...entry, path: entry.path.slice(entry.path.indexOf("/") + 1) }));
  return { path, name, kind: "archive", entries: inside, digest: treeDigest(inside) };
}

async function findBuild(siteFolder: string, site: SiteFile, sourceDigest: string): Promise<BuildRecord | undefined> {
  for (const version of await readdir(siteFolder).catch(() => [])) {
    const record = await readRecord(join(siteFolder, version));
    if (record?.sourceDigest !== sourceDigest) continue;
    if (record.versionFrom === "make" || record.version === site.version) return record;
  }
  return undefined;
}

async function readRecord(folder: string): Promise<BuildRecord | undefined> {
  if (basename(folder).startsWith(".")) return undefined;
  const text = await readFile(join(folder, recordName), "utf8").catch(() => undefined);
  const record = text === undefined ? undefined : (JSON.parse(text) as BuildRecord);
  return record?.format === 1 ? record : undefined;
}

/** Builds in a new folder beside the final one, which gets its name only when all of it is there and checked. */
async function build(
  site: SiteFile,
  source: Source,
  siteFolder: string,
  options: BuildReleaseOptions,
): Promise<BuildRecord> {
  const log = options.log ?? (() => {});
  if (!source.entries.some((entry) => entry.path === "Makefile" && entry.kind === "file")) {
    throw new UserError(`${source.name} has no Makefile. A release is built with "make"; see docs/sites.md.`);
  }
  const work = join(siteFolder, `.building-${process.pid}-${randomBytes(4).toString("hex")}`);
  await removeAbandonedBuilds(siteFolder);
  await mkdir(work, { recursive: true });
  try {
    const sources = join(work, "src");
    await copySource(source, sources);
    const { version, versionFrom } = await findVersion(site, source, sources);
    const final = join(siteFolder, version);
    const built = await readRecord(final);
    if (built) {
      throw new UserError(
        `${site.slug}: version ${version} is built already, from other files than those in ${source.name}. ` +
          "Versions never change: raise the version.",
      );
    }
    log(`${site.slug} ${version}: make`);
    const making = runMake([], sources, log);
    options.whileMaking?.();
    const made = await making;
    if (made.code !== 0) {
      throw new UserError(
        `${site.slug} ${version}: "make" in ${source.name} failed (exit ${made.code}):\n${made.tail}`,
      );
    }
    const commands = await runCommands(site, { folder: sources, log, seconds: options.commandSeconds });
    const limits = options.limits ?? defaultLimits;
    const record = await keepBuild(site, source, { version, versionFrom, sources, work, commands, limits });
    await rm(sources, { recursive: true });
    return await takePlace(work, final, record);
  } finally {
    await rm(work, { recursive: true, force: true });
    // A refused first build leaves no trace; rmdir takes nothing that holds something.
    await rmdir(siteFolder).catch(() => {});
    await rmdir(options.artifactsFolder).catch(() => {});
  }
}

/** Gives a build its final name, unless another run has just finished the same one. */
async function takePlace(work: string, final: string, record: BuildRecord): Promise<BuildRecord> {
  try {
    await rename(work, final);
    return record;
  } catch (error) {
    if (!["ENOTEMPTY", "EEXIST"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    const other = await readRecord(final);
    if (other?.sourceDigest === record.sourceDigest) return other;
    if (other) throw new UserError(`${final} was built by another run meanwhile, from other files. Run this again.`);
    // What is there without a record nobody has finished.
    await rm(final, { recursive: true });
    await rename(work, final);
    return record;
  }
}

async function removeAbandonedBuilds(siteFolder: string): Promise<void> {
  for (const name of await readdir(siteFolder).catch(() => [])) {
    const pid = /^\.building-(\d+)-/.exec(name)?.[1];
    if (pid && !isAlive(Number(pid))) await rm(join(siteFolder, name), { recursive: true, force: true });
  }
}

async function copySource(source: Source, target: string): Promise<void> {
  if (source.kind === "archive") return unpackArchive(source.path, target);
  const prefix = source.path.length + 1;
  await cp(source.path, target, {
    recursive: true,
    // Makefiles compare dates.
    preserveTimestamps: true,
    verbatimSymlinks: true,
    filter: (path) => path === source.path || isSource(path.slice(prefix)),
  });
}

/** @throws UserError for a version that is none: it names folders and objects, and stands in templates */
export function checkVersion(slug: string, version: string): void {
  if (/^[0-9A-Za-z.+-]{1,100}$/.test(version) && parseVersion(version) !== null) return;
  throw new UserError(
    `${slug}: the version is ${JSON.stringify(version.slice(0, 200))}, which is not one like 1.2.3 or 1.2.3-beta.1+build (semver).`,
  );
}

async function findVersion(site: SiteFile, source: Source, sources: string) {
  const inspected = await runMake(["inspect.VERSION"], sources);
  const said = inspected.code === 0 ? inspected.stdout.trim() : "";
  const version = said === "" ? site.version : said;
  if (version === undefined) {
    throw new UserError(
      `${site.slug}: "make inspect.VERSION" in ${source.name} tells no version, and ${basename(site.path)} has no "version". Give one of them:\n${inspected.tail}`,
    );
  }
  checkVersion(site.slug, version);
  return { version, versionFrom: said === "" ? ("site-file" as const) : ("make" as const) };
}

interface Built {
  readonly version: string;
  readonly versionFrom: "make" | "site-file";
  readonly sources: string;
  readonly work: string;
  readonly commands: readonly CommandValue[];
  readonly limits: ArchiveLimits;
}

/** Checks both archives and lays what is needed of them into the build's folder; the record comes last. */
async function keepBuild(
  site: SiteFile,
  source: Source,
  { version, versionFrom, sources, work, commands, limits }: Built,
): Promise<BuildRecord> {
  const artifactTar = await requireFile(site, source, join(sources, "dist", "artifact.tar.gz"));
  const immutableTar = await requireFile(site, source, join(sources, "dist", "immutable.tar.gz"));
  const options = { topFolder: site.slug, limits };
  // Both before either is unpacked.
  await readArchive(artifactTar, options);
  await readArchive(immutableTar, { ...options, mayBeEmpty: true });

  const [{ entries, packed }, immutable] = await Promise.all([
    keepArtifact(site, version, artifactTar, work),
    keepImmutable(site, version, immutableTar, work),
  ]);
  const record: BuildRecord = {
    format: 1,
    version,
    versionFrom,
    sourceDigest: source.digest,
    artifact: { ...packed, digest: treeDigest(entries) },
    folders: entries.filter((entry) => entry.kind === "folder" && !entry.path.includes("/")).map((entry) => entry.path),
    immutable,
    commands,
  };
  await writeFile(join(work, recordName), `${JSON.stringify(record, undefined, 2)}\n`, { flush: true });
  return record;
}

/** Packs it anew, always in the same way. */
async function keepArtifact(site: SiteFile, version: string, archive: string, work: string) {
  const tree = join(work, "tree");
  await unpackArchive(archive, tree);
  const entries = await readFolder(tree);
  await keepTemplate(site, version, tree, work);
  const packed = await packFolder(tree, entries, join(work, artifactFileName), site.slug);
  await rm(tree, { recursive: true });
  return { entries, packed };
}

async function keepImmutable(site: SiteFile, version: string, archive: string, work: string) {
  const folder = join(work, "immutable");
  await unpackArchive(archive, folder);
  return readImmutable(site, version, folder);
}

async function requireFile(site: SiteFile, source: Source, path: string): Promise<string> {
  const info = await stat(path).catch(() => undefined);
  if (info?.isFile()) return path;
  throw new UserError(
    `${site.slug}: "make" in ${source.name} did not make dist/${basename(path)}. It has to, even if it is empty of files.`,
  );
}

async function keepTemplate(site: SiteFile, version: string, tree: string, work: string): Promise<void> {
  const path = `nginx/templates/${site.slug}.nginx.conf.template`;
  const text = await readFile(join(tree, path)).catch(() => {
    throw new UserError(`${site.slug} ${version}: dist/artifact.tar.gz has no ${site.slug}/${path}.`);
  });
  await writeFile(join(work, templateFileName), text);
}

async function readImmutable(site: SiteFile, version: string, folder: string) {
  const builds: { service: string; hash: string; digest: string }[] = [];
  for (const service of (await readdir(folder)).sort()) {
    const hash = (await readFile(join(folder, service, "hash.txt"), "utf8").catch(() => "")).trim();
    const where = `${site.slug} ${version}: in dist/immutable.tar.gz, ${site.slug}/${service}`;
    if (!/^[A-Za-z0-9_-]{8,128}$/.test(hash))
      throw new UserError(`${where}/hash.txt should hold the hash of the service's files.`);
    const info = await stat(join(folder, service, hash)).catch(() => undefined);
    if (!info?.isDirectory()) throw new UserError(`${where} has no folder "${hash}", which its hash.txt names.`);
    builds.push({ service, hash, digest: treeDigest(await readFolder(join(folder, service, hash))) });
  }
  return builds;
}

function chooseImmutable(site: SiteFile, record: BuildRecord, folder: string): ImmutableBuild[] {
  const wanted = site.services.filter((service) => service.lang === "immutable");
  return wanted.map(({ name }) => {
    const found = record.immutable.find((candidate) => candidate.service === name);
    if (!found) {
      throw new UserError(
        `${site.slug} ${record.version}: dist/immutable.tar.gz has no ${site.slug}/${name}/ for the immutable service "${name}".`,
      );
    }
    return { ...found, folder: join(folder, "immutable", name, found.hash) };
  });
}

function checkServices(site: SiteFile, record: BuildRecord): void {
  for (const { name, lang } of [...site.services, ...site.workers]) {
    if (lang !== "immutable" && !record.folders.includes(name)) {
      throw new UserError(
        `${site.slug} ${record.version}: dist/artifact.tar.gz has no ${site.slug}/${name}/ for the ${lang === "python-worker" ? "worker" : "service"} "${name}".`,
      );
    }
  }
}

/** Runs `make`, which is the site's own code. */
async function runMake(
  targets: readonly string[],
  folder: string,
  log?: (line: string) => void,
): Promise<ProcessResult> {
  const result = await runProcess(["make", ...targets], { folder, ...(log ? { log } : {}) });
  if (result.code === 127 && result.tail === "")
    throw new UserError('"make" is not installed. Install it (Debian: apt-get install make).');
  return result;
}
