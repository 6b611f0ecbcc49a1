import { spawn } from "node:child_process";
import { once } from "node:events";
import { open, statfs } from "node:fs/promises";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { headBytes } from "./disk-image.ts";
import { ImportError } from "./image-fetch.ts";

/** Space that an import leaves free on the disk. */
const reserveBytes = 1024 ** 3;
const brokenConnection: readonly string[] = ["ECONNRESET", "ETIMEDOUT"];
const hole = Buffer.alloc(64 * 1024);

export interface UnpackLimits {
  /** How large the unpacked image may be. */
  readonly bytes: number;
  /** How much of it may take space: zeros do not. */
  readonly room: number;
}

/**
 * Writes what a fetched image unpacks to, by the extension of its path (.gz, .bz2, else as it is), with holes for zeros.
 * @returns the file's beginning, `headBytes` at most.
 * @throws ImportError when it is damaged or goes beyond the limits.
 */
export async function unpack(
  body: Readable,
  path: string,
  target: string,
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<Buffer> {
  const file = await open(target, "w", 0o600);
  let head = Buffer.alloc(0);
  let position = 0;
  let written = 0;
  // A pipeline may tell of what its end has led to, not of what it was.
  let cause: ImportError | undefined;
  const write = async (source: AsyncIterable<Buffer>) => {
    for await (const chunk of source) {
      if (head.length < headBytes) head = Buffer.concat([head, chunk.subarray(0, headBytes - head.length)]);
      if (position + chunk.length > limits.bytes) cause = tooLarge();
      for (let start = 0; start < chunk.length; start += hole.length) {
        const piece = chunk.subarray(start, start + hole.length);
        if (piece.equals(hole.subarray(0, piece.length))) continue;
        written += piece.length;
        if (written > limits.room) cause ??= noRoom();
        if (cause !== undefined) throw cause;
        await file.write(piece, 0, piece.length, position + start);
      }
      if (cause !== undefined) throw cause;
      position += chunk.length;
    }
  };
  try {
    if (/\.gz$/i.test(path)) await pipeline(body, createGunzip(), gather(), write, { signal });
    else if (/\.bz2$/i.test(path)) {
      const damaged = (error: ImportError) => {
        cause = error;
      };
      await pipeline(body, (source: AsyncIterable<Buffer>) => bunzip2(source, damaged), gather(), write, { signal });
    } else await pipeline(body, gather(), write, { signal });
    await file.truncate(position);
  } catch (error) {
    throw cause ?? explain(error);
  } finally {
    await file.close();
  }
  return head;
}

/** Bytes that an import may take on the disk of this folder. */
export async function roomIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize - reserveBytes;
}

/** Why an import ends that would fill the disk. */
export function noRoom(): ImportError {
  return new ImportError("There is not enough space left on the disk for the image.");
}

/** Why an import ends whose image is larger than DigitalOcean takes. */
export function tooLarge(): ImportError {
  return new ImportError("The image is larger than 100 GB.");
}

function explain(error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException).code ?? "";
  if (code.startsWith("Z_")) return new ImportError("The file is not gzip-compressed, or it is damaged.");
  if (brokenConnection.includes(code)) {
    return new ImportError("The connection broke while the image was fetched.");
  }
  return error;
}

/**
 * Node has no bzip2 of its own. Only the program's exit code tells whether all was there.
 * @param damaged is told when it was not, unless the source itself broke off.
 */
async function* bunzip2(source: AsyncIterable<Buffer>, damaged: (error: ImportError) => void): AsyncGenerator<Buffer> {
  const child = spawn("bzip2", ["--decompress", "--stdout"], { stdio: ["pipe", "pipe", "ignore"] });
  const exit = once(child, "close").then(
    ([code]) => code as number | null,
    () => null,
  );
  let sourceError: unknown;
  async function* watched() {
    try {
      yield* source;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  }
  // Its own failure, a broken pipe, only says that bzip2 gave up.
  pipeline(watched(), child.stdin).catch(() => undefined);
  try {
    yield* child.stdout;
    if ((await exit) === 0) return;
    if (sourceError !== undefined) throw sourceError;
    const error = new ImportError("The file is not bzip2-compressed, or it is damaged.");
    damaged(error);
    throw error;
  } finally {
    child.kill("SIGKILL");
  }
}

/** Joins small chunks into whole pieces of the size of `hole`, so that zeros are found. */
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
      parts = [joined.subarray(whole)];
      length = joined.length - whole;
      done(null, joined.subarray(0, whole));
    },
    flush(done) {
      done(null, length > 0 ? Buffer.concat(parts) : undefined);
    },
  });
}
