import { randomUUID } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { cacheFolder } from "../lib/cache-folder.ts";
import { UserError } from "../lib/user-error.ts";
import { type Base, chooseBase, fetchBaseImage, fetchDebianPackages, mirror } from "./base.ts";
import { imageDigest } from "./digest.ts";
import { run, withLock } from "./processes.ts";

export { imageDigest } from "./digest.ts";

/** A disk image that is ready to be imported. */
export interface Image {
  /** Absolute path of the gzipped qcow2 file. */
  readonly path: string;
  /** `imageDigest()` of what it was built from, 64 hex digits. */
  readonly digest: string;
  /** Where its packages came from: Alpine's mirror, or Debian's packages made into Alpine ones. */
  readonly base: Base;
  /** Size of the file in bytes. */
  readonly size: number;
}

const here = import.meta.dirname;

/**
 * The image that belongs to the files in `image/`: out of the cache, or built there (about a minute, root needed).
 * Two calls at once, also in different processes, build it once. A killed build leaves nothing mounted and no half image.
 * @param report gets one line for each step of a build; none is reported for an image out of the cache.
 * @throws UserError when this machine cannot build it: not root, a program missing, no network.
 */
export async function buildImage(report: (line: string) => void = () => {}): Promise<Image> {
  const digest = imageDigest();
  const folder = join(cacheFolder(), "image");
  const target = join(folder, digest);
  if (!existsSync(join(target, "alpine.qcow2.gz"))) {
    mkdirSync(folder, { recursive: true });
    await withLock(join(folder, "lock"), async () => {
      if (!existsSync(join(target, "alpine.qcow2.gz"))) await build(folder, target, digest, report);
    });
  }
  const { base } = JSON.parse(readFileSync(join(target, "manifest.json"), "utf8"));
  const path = join(target, "alpine.qcow2.gz");
  utimesSync(target, new Date(), new Date());
  return { path, digest, base, size: statSync(path).size };
}

async function build(folder: string, target: string, digest: string, report: (line: string) => void): Promise<void> {
  checkMachine();
  const work = join(folder, "work");
  rmSync(work, { recursive: true, force: true });
  mkdirSync(work, { recursive: true });
  try {
    const base = await chooseBase();
    const image = await fetchBaseImage(cacheFolder(), report);
    const debs = base === "debian" ? await fetchDebianPackages(join(work, "apt"), report) : undefined;
    const disk = join(work, "disk");
    const result = join(work, "result");
    for (const made of [disk, result]) mkdirSync(made);
    await makeDisk([disk, image, uuidOf(digest), ...(debs ? [debs.folder] : [])], report);
    const manifest = { digest, base, packages: lines(join(disk, "packages.txt")), debian: debs?.versions };
    writeFileSync(join(result, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`);
    renameSync(join(disk, "alpine.qcow2.gz"), join(result, "alpine.qcow2.gz"));
    await run("sync", ["-f", result]);
    rmSync(target, { recursive: true, force: true });
    renameSync(result, target);
    removeOldImages(folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Keeps the four images that were used last: another copy of the project may be at another version. */
function removeOldImages(folder: string): void {
  const images = readdirSync(folder).filter((name) => /^[0-9a-f]{64}$/.test(name));
  const byUse = images.map((name) => ({ path: join(folder, name), used: statSync(join(folder, name)).mtimeMs }));
  for (const { path } of byUse.sort((a, b) => b.used - a.used).slice(4)) rmSync(path, { recursive: true });
}

/** Runs make-disk.sh with mounts and processes of its own, which end with this process; without a network unless it needs the mirror. */
async function makeDisk(args: string[], report: (line: string) => void): Promise<void> {
  const offline = args.length > 3 ? ["--net"] : [];
  const unshare = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", ...offline];
  await run("setpriv", ["--pdeathsig", "KILL", ...unshare, join(here, "make-disk.sh"), ...args], {
    report,
    environment: { ALPINE_MIRROR: mirror },
  });
}

function checkMachine(): void {
  if (process.getuid?.() !== 0) {
    throw new UserError("Building the image needs root (it mounts and enters the new system): run this with sudo.");
  }
}

/** The same inputs give the same UUID, so that it says which image a disk was made from. */
function uuidOf(digest: string): string {
  const d = digest;
  return `${d.slice(0, 8)}-${d.slice(8, 12)}-4${d.slice(13, 16)}-8${d.slice(17, 20)}-${d.slice(20, 32)}`;
}

function lines(path: string): string[] {
  return readFileSync(path, "utf8").split("\n").filter(Boolean);
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { output: { type: "string" }, help: { type: "boolean" } } });
  if (values.help) {
    console.log(
      "usage: node image/build.ts [--output FILE]\nBuilds the server image, or takes it out of the cache; prints where it is.",
    );
    return;
  }
  const image = await buildImage((line) => console.error(line));
  if (values.output) {
    const output = resolve(values.output);
    mkdirSync(dirname(output), { recursive: true });
    const temporary = `${output}.${randomUUID()}`;
    copyFileSync(image.path, temporary);
    renameSync(temporary, output);
  }
  console.log(JSON.stringify(image));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  main().catch((error: unknown) => {
    console.error(error instanceof UserError ? error.message : error);
    process.exitCode = 1;
  });
}
