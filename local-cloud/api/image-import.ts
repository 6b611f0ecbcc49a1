import { execFile } from "node:child_process";
import { open, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { type ApiContext, now } from "./context.ts";
import { headBytes, maxImageBytes, recognise } from "./disk-image.ts";
import { checkImageUrl, fetchImage, ImportError } from "./image-fetch.ts";
import { imageFile, partFile } from "./image-files.ts";
import { noRoom, roomIn, tooLarge, unpack } from "./image-unpack.ts";

const gibibyte = 1024 ** 3;
const importMs = 30 * 60 * 1000;
const convertMs = 10 * 60 * 1000;

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
      errorMessage = explain(error, signal);
      if (error instanceof ImportError) log.info(`image ${id} cannot be imported: ${errorMessage}`);
      else log.error(error, `image ${id} cannot be imported`);
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
    throw tooLarge();
  }
  const limits = { bytes: maxImageBytes, room: await roomIn(imagesFolder) };
  const head = await unpack(body, url.pathname, download, limits, signal);
  const disk = recognise(head);
  if ("refused" in disk) throw new ImportError(disk.refused);
  const ready =
    disk.format === "raw" ? download : await convert(download, partFile(imagesFolder, id, "convert"), signal);
  return keep(ready, imageFile(imagesFolder, id));
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
    throw tooLarge();
  }
  await convertWithin(await roomIn(dirname(target)), target, signal, (limited) =>
    qemuImg(["convert", "-f", "qcow2", "-O", "raw", "-S", "64k", source, target], limited),
  );
  // Of a file that was cut off qemu-img makes zeros without a word.
  const disk = recognise(await readHead(target));
  if (!("format" in disk) || disk.format !== "raw") throw damaged();
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
    // prlimit exits with 127 when it does not find the command.
    if (["ENOENT", 127].includes((error as { code?: string | number }).code ?? "")) {
      throw new ImportError("qemu-img is missing on this machine: install Debian's package qemu-utils.");
    }
    signal.throwIfAborted();
    throw damaged();
  }
}

function damaged(): ImportError {
  return new ImportError("The qcow2 image is damaged.");
}

async function readHead(path: string): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(headBytes), 0, headBytes, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}

/** Gives the finished file its name once all of it is on the disk. */
async function keep(source: string, target: string): Promise<number> {
  const file = await open(source, "r+");
  try {
    await file.chmod(0o600);
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
