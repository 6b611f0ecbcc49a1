import { isUtf8 } from "node:buffer";
import { execFileSync } from "node:child_process";
import { closeSync, lstatSync, openSync, readdirSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInflateRaw } from "node:zlib";

/** A secret value that is looked for. */
export interface Canary {
  /** What is told of it: its value must not get into a test's output either. */
  readonly name: string;
  /** At least 12 bytes that nothing else has by chance. */
  readonly value: Buffer;
}

/** Where a canary was found. */
export interface Hit {
  readonly canary: string;
  /** How it was written, such as `base64`, or `hex in gzip`. */
  readonly form: string;
  /** A file, or what the caller named. */
  readonly place: string;
}

type Form = readonly [name: string, write: (value: Buffer) => readonly (Buffer | string)[]];

/** Ways to write bytes, and all that the same bytes can look like in it. */
const forms: readonly Form[] = [
  ["plain", (value) => [value]],
  ["base64", (value) => base64Cores(value).flatMap((core) => [core, core.replaceAll("+", "-").replaceAll("/", "_")])],
  ["hex", (value) => [value.toString("hex"), value.toString("hex").toUpperCase()]],
  ["URL", (value) => [...percent(value), ...textForms(value, encodeURIComponent)]],
  ["JSON", (value) => textForms(value, jsonText, (text) => jsonText(jsonText(text)), slashes, jsonCodes)],
];

/** Canaries are cut into pieces, each a canary of its own: a line break or the end of a block in the middle leaves one of them whole. */
const pieceBytes = 12;
const mostPieces = 3;

/** The characters of base64 that a value gives wherever it begins in a longer text: at any of the three places in a group of bytes. */
function base64Cores(value: Buffer): string[] {
  return [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), value])
      .toString("base64")
      .replaceAll("=", "");
    const first = Math.ceil((before * 8) / 6);
    const whole = Math.floor(((before + value.length) * 8) / 6);
    return text.slice(first, whole);
  });
}

function percent(value: Buffer): string[] {
  const upper = value.toString("hex").toUpperCase().replaceAll(/../g, "%$&");
  return [upper, upper.toLowerCase()];
}

/** Forms that only a text has. */
function textForms(value: Buffer, ...write: readonly ((text: string) => string)[]): string[] {
  return isUtf8(value) ? write.map((each) => each(value.toString())) : [];
}

/** As inside a JSON string. */
function jsonText(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

function slashes(text: string): string {
  return jsonText(text).replaceAll("/", "\\/");
}

function jsonCodes(text: string): string {
  return [...text].map((sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`).join("");
}

interface Needle {
  readonly canary: string;
  readonly form: string;
  readonly bytes: Buffer;
}

const gzipStart = Buffer.from([0x1f, 0x8b, 0x08]);
/** Gzip in gzip in gzip is enough: an archive of a site in a bundle of logs. */
const deepest = 3;
/** What is unpacked of one gzip at most. */
const mostUnpacked = 64 * 2 ** 20;
const blockBytes = 4096;
const chunkBytes = 32 * 2 ** 20;
/** Read twice, at the end of one chunk and the beginning of the next. */
const overlapBytes = 2 * 2 ** 20;

/**
 * Looks for many canaries at once: as they are, in base64 (from each of its three places), hex, percent and JSON form, and inside gzip.
 * Wu and Manber's way: the two bytes at the end of a window say how far the next possible hit is.
 */
export class CanarySearch {
  /** By what stands at the end of the window. */
  readonly #needles = new Map<number, Needle[]>();
  readonly #shortest: number;
  readonly #shifts: Uint8Array;

  constructor(canaries: readonly Canary[]) {
    const needles = canaries.flatMap(needlesOf);
    this.#shortest = Math.min(...needles.map(({ bytes }) => bytes.length));
    const last = this.#shortest - 2;
    this.#shifts = new Uint8Array(65536).fill(last + 1);
    for (const needle of needles) {
      const end = needle.bytes.readUInt16BE(last);
      this.#needles.set(end, [...(this.#needles.get(end) ?? []), needle]);
      for (let at = 0; at <= last; at++) {
        const pair = needle.bytes.readUInt16BE(at);
        this.#shifts[pair] = Math.min(this.#shifts[pair] ?? 0, last - at);
      }
    }
  }

  /** Canaries in these bytes, each form of each once. */
  async inBytes(bytes: Buffer, place: string, depth = 0): Promise<Hit[]> {
    const hits = this.#plainHits(bytes).map(({ canary, form }) => ({ canary, form, place }));
    if (depth < deepest) {
      for (let at = bytes.indexOf(gzipStart); at !== -1; at = bytes.indexOf(gzipStart, at + 1)) {
        const inside = await this.inBytes(await unpack(bytes.subarray(at)), place, depth + 1);
        hits.push(...inside.map((hit) => ({ ...hit, form: `${hit.form} in gzip` })));
      }
    }
    return unique(hits);
  }

  /** Canaries in a file of any size; of a disk image only what was ever written is read. */
  async inFile(path: string): Promise<Hit[]> {
    const hits: Hit[] = [];
    const file = openSync(path, "r");
    try {
      for (const { start, length } of writtenParts(path)) {
        for (let at = start; at < start + length; at += chunkBytes - overlapBytes) {
          const chunk = Buffer.allocUnsafe(Math.min(chunkBytes, start + length - at));
          const read = readSync(file, chunk, 0, chunk.length, at);
          hits.push(...(await this.inBytes(chunk.subarray(0, read), path)));
          if (at + chunk.length >= start + length) break;
        }
      }
    } finally {
      closeSync(file);
    }
    return unique(hits);
  }

  /**
   * Canaries in every file below a folder, and in the files' names.
   * @param isLeftOut paths, relative to the folder, that are not looked at
   */
  async inFolder(folder: string, isLeftOut: (name: string) => boolean = () => false): Promise<Hit[]> {
    const hits: Hit[] = [];
    for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
      if (isLeftOut(name)) continue;
      const path = join(folder, name);
      hits.push(...(await this.inBytes(Buffer.from(name), path)));
      if (lstatSync(path, { throwIfNoEntry: false })?.isFile()) hits.push(...(await this.inFile(path)));
    }
    return hits;
  }

  #plainHits(bytes: Buffer): Needle[] {
    const hits: Needle[] = [];
    const last = this.#shortest - 2;
    for (let at = last; at + 1 < bytes.length; ) {
      const pair = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
      const shift = this.#shifts[pair] ?? 0;
      if (shift > 0) {
        at += shift;
        continue;
      }
      for (const needle of this.#needles.get(pair) ?? []) {
        const from = at - last;
        if (bytes.subarray(from, from + needle.bytes.length).equals(needle.bytes)) hits.push(needle);
      }
      at++;
    }
    return hits;
  }
}

function needlesOf({ name, value }: Canary): Needle[] {
  if (value.length < pieceBytes) throw new Error(`the canary of ${name} is too short to be unlike everything else`);
  const count = Math.min(mostPieces, Math.floor(value.length / pieceBytes));
  const pieces = Array.from({ length: count }, (_, index) =>
    value.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  const needles = pieces.flatMap((piece) =>
    forms.flatMap(([form, write]) => write(piece).map((text) => ({ canary: name, form, bytes: Buffer.from(text) }))),
  );
  // What a form leaves as it is has been found as plain.
  return needles.filter((one, index) => needles.findIndex((other) => other.bytes.equals(one.bytes)) === index);
}

function unique(hits: readonly Hit[]): Hit[] {
  return [...new Map(hits.map((hit) => [JSON.stringify(hit), hit])).values()];
}

/**
 * The bytes that a gzip gives, as far as it can be read: what is missing, or is no part of it, is no matter. It is read block by block,
 * because what a block gave is lost when an error follows in it.
 */
async function unpack(gzip: Buffer): Promise<Buffer> {
  const parts: Buffer[] = [];
  let total = 0;
  const inflate = createInflateRaw();
  inflate.on("data", (part: Buffer) => {
    parts.push(part);
    total += part.length;
  });
  let isOver = false;
  const over = new Promise<void>((resolve) => {
    const end = () => {
      isOver = true;
      resolve();
    };
    inflate.once("end", end).on("error", end);
  });
  for (let at = headerLength(gzip); at < gzip.length && !isOver && total < mostUnpacked; at += blockBytes) {
    const block = gzip.subarray(at, at + blockBytes);
    await Promise.race([over, new Promise((resolve) => inflate.write(block, resolve))]);
  }
  inflate.destroy();
  return Buffer.concat(parts);
}

/** RFC 1952: ten bytes, then what the flags say. */
function headerLength(gzip: Buffer): number {
  const flags = gzip[3] ?? 0;
  let length = 10;
  if (flags & 4) length += 2 + (gzip.length < 12 ? 0 : gzip.readUInt16LE(10));
  for (const flag of [8, 16]) if (flags & flag) length = gzip.indexOf(0, length) + 1 || gzip.length;
  return flags & 2 ? length + 2 : length;
}

interface Part {
  readonly start: number;
  readonly length: number;
}

/** The whole of an ordinary file; the written parts of a sparse one, as qemu-img knows to ask for them. */
function writtenParts(path: string): Part[] {
  const { size, blocks } = statSync(path);
  if (size < chunkBytes || blocks * 512 >= size) return [{ start: 0, length: size }];
  const map = execFileSync("qemu-img", [
    "map",
    "--output=json",
    "--force-share",
    "--image-opts",
    `driver=raw,file.filename=${path}`,
  ]);
  return (JSON.parse(map.toString()) as (Part & { data: boolean })[]).filter((part) => part.data);
}
