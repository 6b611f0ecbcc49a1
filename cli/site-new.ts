import { existsSync } from "node:fs";
import { link, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { slugOfSiteFile } from "../lib/names.ts";
import { UserError } from "../lib/user-error.ts";
import { withLock } from "../toolchain/lock.ts";
import { say } from "../toolchain/progress.ts";
import { type SiteKind, type SkeletonFiles, skeletonFiles, skeletonSiteFile } from "./site-skeleton.ts";
import { listSiteFiles, sitesFolder } from "./sites-folder.ts";

const kinds: readonly SiteKind[] = ["static", "immutable", "python", "worker", "chill"];
/** Where the ports of new services begin. */
const firstPort = 8001;
const temporaryPrefix = ".new-";

/**
 * Makes a site that works in the project's folder of sites, from the example `sites/hello`: its folder, then its site file. The site
 * file comes last: a site without it is none, whenever this is stopped.
 * @throws UserError when the slug or the kind cannot be, or something of that name is there
 */
export async function makeSite(slug: string, kind: string): Promise<void> {
  checkSlug(slug);
  const settings = localCloudSettings();
  const chosen = checkKind(kind);
  const folder = await sitesFolder(settings);
  await mkdir(folder, { recursive: true });
  const example = await readExample(join(settings.repository, "sites"));
  const additions = await readFiles(join(settings.repository, "cli/skeletons", chosen)).catch(noFiles);
  const siteFile = join(folder, `${slug}.site.json`);
  // Two at once would pick the same port.
  await withLock(join(settings.home, "new-site.lock"), say, async () => {
    for (const path of [siteFile, join(folder, slug)]) {
      if (existsSync(path)) throw new UserError(`${shown(path)} exists already. Choose another slug, or remove it.`);
    }
    const names = { slug, kind: chosen, port: await freePort(folder) };
    await removeLeftovers(folder);
    const temporary = await mkdtemp(join(folder, temporaryPrefix));
    try {
      await writeFiles(join(temporary, slug), skeletonFiles(example.files, names, additions));
      const made = join(temporary, `${slug}.site.json`);
      await writeFile(made, withSchema(skeletonSiteFile(example.siteFile, names), folder, settings.repository));
      await rename(join(temporary, slug), join(folder, slug));
      await link(made, siteFile);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  });
  process.stdout.write(whatNext(slug, shown(folder), settings.ports.gateway));
}

function checkSlug(slug: string): void {
  try {
    slugOfSiteFile(`${slug}.site.json`);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(
      `"${slug}" cannot be a slug: it is a lower-case letter, then at most 30 lower-case letters, digits or "-".`,
    );
  }
}

function checkKind(kind: string): SiteKind {
  const known = kinds.find((each) => each === kind);
  if (known) return known;
  throw new UserError(`There is no kind "${kind}". Kinds: ${kinds.join(", ")}.`);
}

/** The example site: sources only, without what a build or Python leaves beside them. */
async function readExample(sites: string): Promise<{ siteFile: string; files: SkeletonFiles }> {
  const hello = join(sites, "hello");
  try {
    const siteFile = await readFile(join(sites, "hello.site.json"), "utf8");
    return { siteFile, files: await readFiles(hello) };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT") throw error;
    throw new UserError(
      `New sites are made from the example, which is not there: bring it back with \`git checkout -- sites/hello sites/hello.site.json\`.`,
    );
  }
}

async function readFiles(folder: string): Promise<SkeletonFiles> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const paths = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .filter((path) => !/^dist\/|(^|\/)(__pycache__|[^/]*\.egg-info)\//.test(path));
  const texts = await Promise.all(paths.map((path) => readFile(join(folder, path), "utf8")));
  return new Map(paths.map((path, index) => [path, texts[index] ?? ""]));
}

/** Of most kinds the example has all files. */
function noFiles(error: NodeJS.ErrnoException): SkeletonFiles {
  if (error.code !== "ENOENT") throw error;
  return new Map();
}

/** The lowest port from 8001 on that no site file mentions as a value; files that are not JSON yet mention none. */
async function freePort(folder: string): Promise<number> {
  const taken = new Set<string>();
  for (const name of await listSiteFiles(folder)) {
    const text = await readFile(join(folder, name), "utf8");
    for (const [, port] of text.matchAll(/"(\d{4,5})"/g)) taken.add(port ?? "");
  }
  let port = firstPort;
  while (taken.has(String(port))) port += 1;
  return port;
}

/** What a killed run left; the lock is held, so nobody works in it. */
async function removeLeftovers(folder: string): Promise<void> {
  const names = (await readdir(folder)).filter((name) => name.startsWith(temporaryPrefix));
  for (const name of names) await rm(join(folder, name), { recursive: true, force: true });
}

async function writeFiles(folder: string, files: SkeletonFiles): Promise<void> {
  for (const [path, text] of files) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
}

/** Where the schema is depends on where the sites are. */
function withSchema(siteFile: string, folder: string, repository: string): string {
  return siteFile.replace(
    '"../site.schema.json"',
    JSON.stringify(relative(folder, join(repository, "site.schema.json"))),
  );
}

function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}

function whatNext(slug: string, folder: string, port: number): string {
  const steps = [
    ["npm run up", `deploys it to http://${slug}.test.localhost:${port}`],
    [`edit ${folder}/${slug}.site.json`, "its own domain, and who to write to"],
    [`edit ${folder}/${slug}/`, "its pages; raise VERSION with each change"],
    ["npx chillbox site check", "finds mistakes in site files"],
  ] as const;
  const width = Math.max(...steps.map(([step]) => step.length));
  const lines = steps.map(([step, what]) => `  ${step.padEnd(width)}  ${what}\n`);
  return `Made ${folder}/${slug}.site.json and ${folder}/${slug}/.\n\nNext:\n${lines.join("")}`;
}
