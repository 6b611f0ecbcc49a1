import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { extract, Header, Parser, Pax, type ReadEntry } from "tar";
import { UserError } from "./user-error.ts";

/** A file, folder or link as an archive or a folder on disk holds it. */
export interface TreeEntry {
  /** Relative, with "/" between the parts, without a trailing one. */
  readonly path: string;
  readonly kind: "file" | "folder" | "link";
  /** 0o755 or 0o644, whatever else the archive says: only the owner's right to execute is meant. */
  readonly mode: number;
  /** Bytes; 0 for folders and links. */
  readonly size: number;
  /** SHA-256 of the content in hex; of the target for a link; "" for a folder. */
  readonly hash: string;
  /** Where a link points to. */
  readonly target?: string;
}

/** Most that an archive may hold. */
export interface ArchiveLimits {
  /** Unpacked bytes of all files. */
  readonly bytes: number;
  readonly entries: number;
  /** Unpacked bytes for each packed one; looked at from 10 MB on, since small texts pack very well. */
  readonly ratio: number;
}

export const defaultLimits: ArchiveLimits = { bytes: 2_000_000_000, entries: 100_000, ratio: 200 };

/** From this many unpacked bytes on the ratio counts. */
const ratioFromBytes = 10_000_000;

/** Files of up to so many bytes are read at once. */
const smallBytes = 1_000_000;

export interface ReadArchiveOptions {
  /** The only top-level folder that the archive may have; without it any one folder is taken. */
  readonly topFolder?: string;
  readonly limits?: ArchiveLimits;
  /** Accept an archive that holds no more than its top-level folder. */
  readonly mayBeEmpty?: boolean;
  /** What errors call the archive; default: its path. */
  readonly name?: string;
}

/**
 * Reads a tar file (plain or gzip) to its end and writes nothing. Anything that could reach outside the archive's one top-level
 * folder, or that would mean different things on different systems, is refused.
 * @returns entries in the order of the archive, without the top-level folder itself, paths including it
 * @throws UserError naming the archive and the entry
 */
export async function readArchive(file: string, options: ReadArchiveOptions = {}): Promise<TreeEntry[]> {
  const limits = options.limits ?? defaultLimits;
  const name = options.name ?? file;
  const packedBytes = (await stat(file)).size;
  const checker = new EntryChecker(name, options.topFolder);
  const entries: TreeEntry[] = [];
  let bytes = 0;
  let sawEnd = false;

  const parser = new Parser({ strict: true });
  const fail = (error: Error): void => parser.abort(error);
  parser.on("eof", () => {
    sawEnd = true;
  });
  parser.on("ignoredEntry", (entry: ReadEntry) => {
    fail(checker.refusal(entry.path, `is of the kind "${entry.type}"; only files, folders and links are allowed`));
  });
  parser.on("entry", (entry: ReadEntry) => {
    try {
      const checked = checker.check(entry);
      if (entries.length >= limits.entries)
        throw checker.refusal(entry.path, `is one more than the ${limits.entries} entries allowed`);
      const hash = createHash("sha256");
      entry.on("data", (chunk: Buffer) => {
        hash.update(chunk);
        bytes += chunk.length;
        if (bytes > limits.bytes)
          fail(checker.refusal(entry.path, `makes more than the ${limits.bytes} bytes allowed`));
        if (bytes > ratioFromBytes && bytes > packedBytes * limits.ratio) {
          fail(checker.refusal(entry.path, `unpacks to more than ${limits.ratio} times the archive's own size`));
        }
      });
      entry.on("end", () => {
        if (checked) entries.push(withHash(checked, hash.digest("hex")));
      });
      entry.resume();
    } catch (error) {
      fail(error as Error);
      entry.resume();
    }
  });
  await new Promise<void>((resolve, reject) => {
    parser.on("end", resolve);
    parser.on("error", reject);
    const source = createReadStream(file);
    source.on("error", reject);
    source.pipe(parser as unknown as NodeJS.WritableStream);
  }).catch((error: Error) => {
    throw error instanceof UserError ? error : new UserError(`${name} is not a whole tar archive: ${error.message}.`);
  });
  if (!sawEnd) throw new UserError(`${name} is cut off: the end of the archive is missing. Build it again.`);
  if (entries.length === 0 && !options.mayBeEmpty)
    throw new UserError(`${name} is empty: it should hold one folder with files.`);
  return entries;
}

/**
 * Unpacks an archive that `readArchive` has accepted, without its top-level folder.
 * @param folder made if it is missing; should be empty
 */
export async function unpackArchive(file: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await extract({ file, cwd: folder, strip: 1, strict: true, preserveOwner: false, noMtime: true });
}

/**
 * Digest of a tree: SHA-256 in hex over the sorted (path, mode, content hash) of files and links. Folders count through what is in
 * them, so the digest is the same for an archive with and without entries for folders, and whatever its dates and owners are.
 */
export function treeDigest(entries: readonly TreeEntry[]): string {
  const lines = entries
    .filter((entry) => entry.kind !== "folder")
    .map((entry) => `${entry.path}\0${entry.kind === "link" ? "link" : entry.mode.toString(8)}\0${entry.hash}\n`)
    .sort();
  return createHash("sha256").update(lines.join("")).digest("hex");
}

export interface ReadFolderOptions {
  /** Told each relative path; `false` leaves it (and what is below it) out. */
  readonly keep?: (path: string) => boolean;
}

/**
 * Reads a folder on disk as a tree; paths are relative to it.
 * @throws UserError for a socket, device or fifo
 */
export async function readFolder(folder: string, options: ReadFolderOptions = {}): Promise<TreeEntry[]> {
  const entries: TreeEntry[] = [];
  await walk("");
  return entries;

  async function walk(parent: string): Promise<void> {
    for (const name of readdirSync(join(folder, parent)).sort()) {
      const path = parent === "" ? name : `${parent}/${name}`;
      if (options.keep && !options.keep(path)) continue;
      const info = lstatSync(join(folder, path));
      if (info.isDirectory()) {
        entries.push({ path, kind: "folder", mode: 0o755, size: 0, hash: "" });
        await walk(path);
      } else if (info.isFile()) {
        const mode = info.mode & 0o100 ? 0o755 : 0o644;
        entries.push({ path, kind: "file", mode, size: info.size, hash: await hashOf(join(folder, path), info.size) });
      } else if (info.isSymbolicLink()) {
        const target = readlinkSync(join(folder, path));
        entries.push({ path, kind: "link", mode: 0o755, size: 0, hash: sha256(target), target });
      } else {
        throw new UserError(`${join(folder, path)} is neither file, folder nor link. Remove it.`);
      }
    }
  }
}

/** Small files are read at once, for which a stream would take ten times as long; an `up` reads those of all sites twice. */
function hashOf(file: string, size: number): string | Promise<string> {
  return size > smallBytes ? hashFile(file) : sha256(readFileSync(file));
}

/**
 * Packs a folder so that the same tree always gives the same bytes: sorted, no owners, and dates that come from the content.
 * (One date for all would not do: nginx makes a file's ETag of its date and length, and a browser would keep a page of which
 * only a letter changed.)
 * @param file written beside itself first and renamed when it is complete; gzip if its name ends in `gz`
 * @param topFolder name of the archive's one top-level folder; without it paths start at the folder's content
 * @returns SHA-256 of the file in hex, and its size in bytes
 */
export async function packFolder(
  folder: string,
  entries: readonly TreeEntry[],
  file: string,
  topFolder?: string,
): Promise<{ sha256: string; size: number }> {
  const { rename } = await import("node:fs/promises");
  const part = `${file}.${process.pid}.part`;
  const sorted = [...entries].sort((a, b) => (a.path < b.path ? -1 : 1));
  const tar = Readable.from(packEntries(folder, sorted, topFolder));
  if (file.endsWith("gz")) await pipeline(tar, createGzip({ level: 9 }), createWriteStream(part, { flush: true }));
  else await pipeline(tar, createWriteStream(part, { flush: true }));
  const packed = { sha256: await hashFile(part), size: (await stat(part)).size };
  await rename(part, file);
  return packed;
}

async function* packEntries(folder: string, entries: readonly TreeEntry[], topFolder?: string): AsyncGenerator<Buffer> {
  if (topFolder !== undefined) {
    yield* header({ path: topFolder, kind: "folder", mode: 0o755, size: 0, hash: "" }, topFolder);
  }
  for (const entry of entries) {
    yield* header(entry, topFolder === undefined ? entry.path : `${topFolder}/${entry.path}`);
    if (entry.kind !== "file") continue;
    let size = 0;
    for await (const chunk of createReadStream(join(folder, entry.path))) {
      size += (chunk as Buffer).length;
      yield chunk as Buffer;
    }
    if (size !== entry.size) throw new UserError(`${join(folder, entry.path)} changed while it was read. Try again.`);
    if (size % 512 !== 0) yield Buffer.alloc(512 - (size % 512));
  }
  yield Buffer.alloc(1024);
}

/** The header block of an entry, with an extended one before it when a path or link is too long for the old fields. */
function header(entry: TreeEntry, path: string): Buffer[] {
  const type = { file: "File", folder: "Directory", link: "SymbolicLink" }[entry.kind] as "File";
  const fields = {
    path: entry.kind === "folder" ? `${path}/` : path,
    ...(entry.target === undefined ? {} : { linkpath: entry.target }),
    mode: entry.mode,
    size: entry.size,
    mtime: dateOfContent(entry.hash),
    uid: 0,
    gid: 0,
    type,
  };
  const block = new Header(fields);
  if (!block.encode()) return [block.block as Buffer];
  const { path: longPath, linkpath, size } = block;
  return [
    new Pax({ path: longPath, ...(linkpath ? { linkpath } : {}), ...(size ? { size } : {}) }).encode(),
    block.block as Buffer,
  ];
}

/** A date between 2001 and 2018 (whole seconds) that is the same for the same content. */
function dateOfContent(hash: string): Date {
  const seconds = 1_000_000_000 + (Number.parseInt(hash.slice(0, 8) || "0", 16) & 0x1fffffff);
  return new Date(seconds * 1000);
}

/** SHA-256 of a file in hex. */
export async function hashFile(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/** SHA-256 of a text or bytes in hex. */
export function sha256(content: string | Buffer): string {
  return createHash("sha256").update(content).digest("hex");
}

function withHash(entry: TreeEntry, contentHash: string): TreeEntry {
  if (entry.kind === "folder") return entry;
  return { ...entry, hash: entry.kind === "link" ? sha256(entry.target ?? "") : contentHash };
}

interface Seen {
  readonly path: string;
  /** A folder that is known only because something lies in it. */
  implied: boolean;
  isNew: boolean;
}

/** Remembers what an archive has held so far and refuses what is hostile. */
class EntryChecker {
  readonly #file: string;
  #topFolder: string | undefined;
  readonly #topFolderIsGiven: boolean;
  readonly #seen = new Map<string, Seen>();
  readonly #links = new Set<string>();

  constructor(file: string, topFolder?: string) {
    this.#file = file;
    this.#topFolder = topFolder;
    this.#topFolderIsGiven = topFolder !== undefined;
  }

  refusal(path: string, problem: string): UserError {
    return new UserError(`${this.#file}: ${JSON.stringify(path)} ${problem}. Nothing was unpacked.`);
  }

  /** @returns the entry, or `undefined` for the top-level folder itself */
  check(entry: ReadEntry): TreeEntry | undefined {
    const path = this.#checkPath(entry.path);
    const mode = entry.mode ?? 0o644;
    if (mode & 0o6000) throw this.refusal(path, "is set to run as another user or group (setuid or setgid)");
    const parts = path.split("/");
    if (parts.length === 1 && entry.type !== "Directory") throw this.refusal(path, "lies beside the top-level folder");
    this.#checkTopFolder(path, parts[0] ?? "");
    this.#checkNotBehindLink(path, parts);
    this.#checkUnique(path, parts, entry.type === "Directory");
    switch (entry.type) {
      case "Directory":
        return parts.length === 1 ? undefined : { path, kind: "folder", mode: 0o755, size: 0, hash: "" };
      case "File":
      case "OldFile":
      case "ContiguousFile":
        return { path, kind: "file", mode: mode & 0o100 ? 0o755 : 0o644, size: entry.size, hash: "" };
      case "SymbolicLink":
        this.#links.add(path);
        return {
          path,
          kind: "link",
          mode: 0o755,
          size: 0,
          hash: "",
          target: this.#checkTarget(path, entry.linkpath ?? ""),
        };
      case "Link":
        throw this.refusal(path, "is a hard link; use a file or a symbolic link");
      default:
        throw this.refusal(path, `is of the kind "${entry.type}"; only files, folders and links are allowed`);
    }
  }

  #checkPath(raw: string): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
    if (/[\u0000-\u001f\u007f]/.test(raw)) throw this.refusal(raw, "has a control character in its name");
    if (raw.includes("\\")) throw this.refusal(raw, "has a backslash in its name");
    if (raw.includes("\ufffd")) throw this.refusal(raw, "has a name that is not valid UTF-8");
    if (raw.startsWith("/")) throw this.refusal(raw, "is an absolute path");
    const path = raw.replace(/^(\.\/)+/, "").replace(/\/+$/, "");
    const parts = path.split("/");
    if (path === "" || parts.some((part) => part === "" || part === "." || part === "..")) {
      throw this.refusal(raw, 'has "..", "." or nothing between two slashes in its path');
    }
    return path;
  }

  #checkTopFolder(path: string, first: string): void {
    this.#topFolder ??= first;
    if (first === this.#topFolder) return;
    throw this.refusal(
      path,
      this.#topFolderIsGiven
        ? `is not in the folder "${this.#topFolder}", which has to be the only one at the top`
        : `is in a second top-level folder, beside "${this.#topFolder}"`,
    );
  }

  /** A link to elsewhere followed by a file "below" it would be written elsewhere. */
  #checkNotBehindLink(path: string, parts: readonly string[]): void {
    for (let length = 1; length < parts.length; length++) {
      if (this.#links.has(parts.slice(0, length).join("/"))) throw this.refusal(path, "lies behind a symbolic link");
    }
  }

  /** Parent folders count as seen when something lies in them, whether or not the archive has entries for them. */
  #checkUnique(path: string, parts: readonly string[], isFolder: boolean): void {
    for (let length = 1; length < parts.length; length++) this.#see(parts.slice(0, length).join("/"));
    const known = this.#see(path);
    if (known.isNew || (isFolder && known.implied)) known.implied = false;
    else throw this.refusal(path, known.implied ? "is both a folder and something else" : "is there twice");
    known.isNew = false;
  }

  #see(path: string): Seen {
    const folded = path.normalize("NFC").toLowerCase();
    const known = this.#seen.get(folded);
    if (known === undefined) {
      const added = { path, implied: true, isNew: true };
      this.#seen.set(folded, added);
      return added;
    }
    if (known.path !== path) throw this.refusal(path, `differs from "${known.path}" only in upper and lower case`);
    known.isNew = false;
    return known;
  }

  #checkTarget(path: string, target: string): string {
    if (target === "" || target.startsWith("/")) throw this.refusal(path, `is a link to the absolute path "${target}"`);
    const ups = target.match(/^(\.\.?\/+)*(\.\.?$)?/)?.[0] ?? "";
    const steps = ups.split("/").filter((part) => part === "..").length;
    // The first folder of the path is the top-level one: a release may be unpacked under any name, so no link may leave it.
    if (steps > path.split("/").length - 2) {
      throw this.refusal(path, `is a link that leaves the archive's folder ("${target}")`);
    }
    // After a name, ".." may mean another folder than it seems to, when the name is itself a link.
    if (target.slice(ups.length).split("/").includes("..")) {
      throw this.refusal(path, `is a link with ".." after a name ("${target}")`);
    }
    return target;
  }
}
