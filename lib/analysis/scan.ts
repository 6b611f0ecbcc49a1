/**
 * Looks through a built release, in a process of its own: the rules for secrets take a quarter of a second to load, while others have things
 * to do. Gets a `ScanRequest` on standard input and writes a `ScanResult` to the file that it names; then asks about the packages, if it is
 * told whom. What needs no doing is not done.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { list, type ReadEntry } from "tar";
import { readFolder } from "../archive.ts";
import { isThere } from "../fill-once.ts";
import { artifactFileName, templateFileName } from "../release.ts";
import { askAdvisories, isOld, readAnswer } from "./advisories.ts";
import { type BadLine, findBadLines } from "./nginx-lines.ts";
import { type LockedPackage, packageOfFile, pinnedPackages } from "./packages.ts";
import type { FoundSecret } from "./secrets.ts";

/** What this program reads on standard input. */
export interface ScanRequest {
  readonly slug: string;
  /** Folder of the built release. */
  readonly folder: string;
  /** Folders of its immutable files, by service. */
  readonly immutable: readonly { readonly service: string; readonly folder: string }[];
  /** The file that gets the result. */
  readonly result: string;
  /** Whom to ask about packages, and the folder of its answers. */
  readonly source?: string;
  readonly advisories?: string;
}

/** What was found in a release: what follows from its files alone. */
export interface ScanResult {
  readonly packages: readonly LockedPackage[];
  /** Paths as in the artifact, below the slug; those of immutable files `immutable/SERVICE/...`. */
  readonly secrets: readonly (FoundSecret & { readonly path: string })[];
  readonly lines: readonly BadLine[];
  /** What was not looked at. */
  readonly notes: readonly string[];
}

/** Bytes of one text, and of all texts of a release: what is larger is data. */
const mostOfFile = 1_000_000;
const mostOfAll = 50_000_000;

async function scan(request: ScanRequest): Promise<void> {
  const { result, source, advisories } = request;
  if (!(await isThere(result))) {
    const found = await look(request);
    await mkdir(dirname(result), { recursive: true });
    await writeFile(`${result}.${process.pid}.part`, `${JSON.stringify(found)}\n`);
    await rename(`${result}.${process.pid}.part`, result);
  }
  if (source === undefined || advisories === undefined) return;
  const { packages } = JSON.parse(await readFile(result, "utf8")) as ScanResult;
  const answers = await Promise.all(packages.map((each) => readAnswer(advisories, each)));
  const open = packages.filter((_, index) => {
    const answer = answers[index];
    return answer === undefined || isOld(answer);
  });
  if (open.length > 0) await askAdvisories(open, source, advisories);
}

async function look({ slug, folder, immutable }: ScanRequest): Promise<ScanResult> {
  const texts = new Texts();
  const packages: LockedPackage[] = [];
  await list({
    file: join(folder, artifactFileName),
    onReadEntry: (entry: ReadEntry) => {
      const path = entry.path.slice(slug.length + 1);
      const found = packageOfFile(path);
      if (found) packages.push(found);
      if (entry.type !== "File" || !texts.wants(path, entry.size)) return void entry.resume();
      texts.add(path, entry.concat());
    },
  });
  for (const { service, folder: files } of immutable) {
    for (const { kind, path, size } of await readFolder(files)) {
      const shown = `immutable/${service}/${path}`;
      if (kind === "file" && texts.wants(shown, size)) texts.add(shown, readFile(join(files, path)));
    }
  }
  const read = await texts.read();
  for (const [path, content] of read) {
    if (/(?:^|\/)[^/]*requirements[^/]*\.(?:txt|in)$/.test(path)) packages.push(...pinnedPackages(content, path));
  }
  return {
    packages: withoutTwins(packages),
    secrets: await secretsIn(read),
    lines: findBadLines(await readFile(join(folder, templateFileName), "utf8")),
    notes: texts.notes,
  };
}

async function secretsIn(texts: readonly (readonly [path: string, content: string])[]): Promise<ScanResult["secrets"]> {
  const { findSecrets } = await import("./secrets.ts");
  const found: (FoundSecret & { path: string })[] = [];
  for (const [path, content] of texts) {
    for (const secret of await findSecrets(path, content)) found.push({ ...secret, path });
  }
  return found;
}

/** A package is named where it is asked for rather than where its wheel lies. */
function withoutTwins(packages: readonly LockedPackage[]): LockedPackage[] {
  const found = new Map<string, LockedPackage>();
  for (const each of packages) found.set(`${each.name} ${each.version}`, each);
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The texts of a release, which are few beside its pictures and wheels. */
class Texts {
  readonly notes: string[] = [];
  readonly #parts: (readonly [string, Promise<Buffer>])[] = [];
  #bytes = 0;

  wants(path: string, size: number): boolean {
    if (size === 0 || size > mostOfFile || /\.(?:whl|gz|zip|png|jpe?g|gif|webp|avif|ico|woff2?|mp4|pdf)$/i.test(path)) {
      return false;
    }
    if (this.#bytes + size > mostOfAll) {
      if (this.notes.length === 0)
        this.notes.push(`it has more than ${mostOfAll / 1e6} MB of text: not all of it was searched for secrets`);
      return false;
    }
    this.#bytes += size;
    return true;
  }

  add(path: string, content: Promise<Buffer>): void {
    this.#parts.push([path, content]);
  }

  async read(): Promise<(readonly [path: string, content: string])[]> {
    const all = await Promise.all(this.#parts.map(async ([path, content]) => [path, await content] as const));
    return all
      .filter(([, bytes]) => !bytes.includes(0))
      .map(([path, bytes]) => [path, bytes.toString("utf8")] as const);
  }
}

await scan(JSON.parse(await text(process.stdin)) as ScanRequest);
