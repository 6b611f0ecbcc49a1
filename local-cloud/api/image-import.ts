import { execFile, spawn } from "node:child_process";
import { open, rename, rm, stat, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { Duplex, PassThrough, type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { promisify } from "node:util";
import { createGunzip } from "node:zlib";
import type { ApiContext } from "./context.ts";
import { now } from "./context.ts";
import { headBytes, maxImageBytes, recognise } from "./disk-image.ts";
import { checkImageUrl, fetchImage, ImportError } from "./image-fetch.ts";
import { imageFile, partFile } from "./image-files.ts";

const gibibyte = 1024 ** 3;
const importMs = 30 * 60 * 1000;
const convertMs = 10 * 60 * 1000;
/** Space that an import leaves free on the disk. */
const reserveBytes = gibibyte;
const hole = Buffer.alloc(64 * 1024);

/** The key under which an image's import runs in `jobs`. */
export function importKey(id: number): string {
  return `image ${id}`;
}

/** Imports a new image in the background. Starting it again after a stop begins from the beginning. */
export function startImport(context: ApiContext, id: number): void {
  const { store, jobs, log } = context;
  jobs.start(importKey(id), async () => {
    const image = store.images.get(id);
    if (image?.status !== "NEW") return;
    const signal = AbortSignal.any([jobs.signal, AbortSignal.timeout(importMs)]);
    let bytes: number | undefined;
    let errorMessage = "";
    try {
      bytes = await importImage(context, id, image.url, signal);
    } catch (error) {
      // The next start of the server takes it up again.
      if (jobs.signal.aborted) return;
      log.warn(error, `image ${id} cannot be imported`);
      errorMessage = explain(error, signal);
    } finally {
      for (const ending of ["download", "convert"] as const) {
        await rm(partFile(context.imagesFolder, id, ending), { force: true });
      }
    }
    await recordEnd(context, id, bytes, errorMessage);
  });
}

function explain(error: unknown, signal: AbortSignal): string {
  if (error instanceof ImportError) return error.message;
  if (signal.aborted) return "The import took too long.";
  return "The image could not be imported.";
}

async function recordEnd({ store, imagesFolder }: ApiContext, id: number, bytes: number | undefined, message: string) {
  const wasDeleted = await store.change(() => {
    const image = store.images.get(id);
    if (image?.status !== "NEW") return true;
    if (bytes === undefined) {
      store.images.put({ ...image, status: "deleted", errorMessage: message, deletedAt: now() });
    } else {
      const sizeGigabytes = Math.ceil((bytes / gibibyte) * 100) / 100;
      store.images.put({ ...image, status: "available", minDiskSize: Math.ceil(bytes / gibibyte), sizeGigabytes });
    }
    return false;
  });
  if (wasDeleted) await rm(imageFile(imagesFolder, id), { force: true });
}

/** @returns the size of the disk in bytes. */
async function importImage(context: ApiContext, id: number, address: string, signal: AbortSignal): Promise<number> {
  const { imagesFolder, spacesProxy } = context;
  const url = checkImageUrl(address);
  const download = partFile(imagesFolder, id, "download");
  const body = await fetchImage(url, { spacesProxy, signal });
  const length = Number(body.headers["content-length"] ?? 0);
  if (length > maxImageBytes) {
    body.destroy();
    throw new ImportError("The image is larger than 100 GB.");
  }
  const head = await unpack(body, url.pathname, download, signal);
  const disk = recognise(head);
  if ("refused" in disk) throw new ImportError(disk.refused);
  const ready =
    disk.format === "raw" ? download : await convert(download, partFile(imagesFolder, id, "convert"), signal);
  return keep(ready, imageFile(imagesFolder, id));
}

/** Writes what the body unpacks to, with holes for zeros, and returns its beginning. */
async function unpack(body: Readable, path: string, target: string, signal: AbortSignal): Promise<Buffer> {
  const room = await freeBytes(dirname(target));
  const file = await open(target, "w", 0o600);
  let head = Buffer.alloc(0);
  let position = 0;
  let written = 0;
  const write = async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) {
      if (head.length < headBytes) head = Buffer.concat([head, chunk.subarray(0, headBytes - head.length)]);
      if (position + chunk.length > maxImageBytes) throw new ImportError("The image is larger than 100 GB.");
      for (let start = 0; start < chunk.length; start += hole.length) {
        const piece = chunk.subarray(start, start + hole.length);
        if (piece.equals(hole.subarray(0, piece.length))) continue;
        written += piece.length;
        if (written > room) throw noRoom();
        await file.write(piece, 0, piece.length, position + start);
      }
      position += chunk.length;
    }
  };
  try {
    await pipeline(body, unpacker(path), gather(), write, { signal });
    await file.truncate(position);
  } catch (error) {
    throw explainUnpack(error);
  } finally {
    await file.close();
  }
  return head;
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize - reserveBytes;
}

function noRoom(): ImportError {
  return new ImportError("There is not enough space left on the disk for the image.");
}

function unpacker(path: string): Duplex {
  if (/\.gz$/i.test(path)) return createGunzip();
  return /\.bz2$/i.test(path) ? bunzip2() : new PassThrough();
}

function explainUnpack(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code.startsWith("Z_")) return new ImportError("The file is not gzip-compressed, or it is damaged.");
  if (code === "ECONNRESET" || code === "ERR_STREAM_PREMATURE_CLOSE") {
    return new ImportError("The connection broke while the image was fetched.");
  }
  return error;
}

/** Node has no bzip2 of its own. */
function bunzip2(): Duplex {
  const child = spawn("bzip2", ["--decompress", "--stdout"], { stdio: ["pipe", "pipe", "ignore"] });
  const stream = Duplex.from({ writable: child.stdin, readable: child.stdout });
  const refuse = () => stream.destroy(new ImportError("The file is not bzip2-compressed, or it is damaged."));
  child.on("error", refuse);
  child.on("close", (code) => code !== 0 && refuse());
  stream.on("close", () => child.kill("SIGKILL"));
  return stream;
}

/** Joins small chunks, so that holes can be found, into pieces of the size of `hole`. */
function gather(): Transform {
  let parts: Buffer[] = [];
  let length = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      parts.push(chunk);
      length += chunk.length;
      if (length < hole.length) return done();
      const joined = Buffer.concat(parts);
      const whole = joined.length - (joined.length % hole.length);
      const rest = joined.subarray(whole);
      parts = rest.length > 0 ? [Buffer.from(rest)] : [];
      length = rest.length;
      done(null, joined.subarray(0, whole));
    },
    flush(done) {
      done(null, length > 0 ? Buffer.concat(parts) : undefined);
    },
  });
}

/** qcow2 to raw by qemu-img, told the format and held to limits of time and memory: the file may come from anybody. */
async function convert(source: string, target: string, signal: AbortSignal): Promise<string> {
  const described = JSON.parse(await qemuImg(["info", "--output=json", "-f", "qcow2", source], signal)) as {
    "virtual-size"?: number;
    "backing-filename"?: string;
    "format-specific"?: { data?: { "data-file"?: string } };
  };
  if (described["backing-filename"] !== undefined || described["format-specific"]?.data?.["data-file"] !== undefined) {
    throw new ImportError("The qcow2 image refers to another file.");
  }
  if ((described["virtual-size"] ?? Number.POSITIVE_INFINITY) > maxImageBytes) {
    throw new ImportError("The image is larger than 100 GB.");
  }
  await convertWithin(await freeBytes(dirname(target)), target, signal, (limited) =>
    qemuImg(["convert", "-f", "qcow2", "-O", "raw", "-S", "64k", source, target], limited),
  );
  return target;
}

/** Runs `work`, which writes `target`, but ends it once that takes more than `room`: a small file may unpack to a full disk. */
async function convertWithin(
  room: number,
  target: string,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<unknown>,
): Promise<void> {
  const full = new AbortController();
  const watch = setInterval(() => {
    stat(target).then(
      ({ blocks }) => blocks * 512 > room && full.abort(noRoom()),
      () => undefined,
    );
  }, 500);
  try {
    await work(AbortSignal.any([signal, full.signal]));
  } finally {
    clearInterval(watch);
  }
}

async function qemuImg(args: readonly string[], signal: AbortSignal): Promise<string> {
  const limits = ["--as=4294967296", `--cpu=${convertMs / 1000}`, "--core=0"];
  try {
    const { stdout } = await promisify(execFile)("prlimit", [...limits, "qemu-img", ...args], {
      signal,
      timeout: convertMs,
      killSignal: "SIGKILL",
      env: { PATH: process.env.PATH ?? "/usr/bin:/bin", LC_ALL: "C" },
    });
    return stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") {
      throw new ImportError("qemu-img is missing on this machine: install Debian's package qemu-utils.");
    }
    signal.throwIfAborted();
    throw new ImportError("The qcow2 image is damaged.");
  }
}

/** Gives the finished file its name once all of it is on the disk. */
async function keep(source: string, target: string): Promise<number> {
  const file = await open(source, "r+");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(source, target);
  const folder = await open(dirname(target), "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
  return (await stat(target)).size;
}
