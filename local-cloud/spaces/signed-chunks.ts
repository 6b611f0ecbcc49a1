import { createHash, timingSafeEqual } from "node:crypto";
import { Transform, type TransformCallback } from "node:stream";
import { S3Error } from "./s3-error.ts";
import { emptyHash, hmac, sha256 } from "./signature.ts";

/** What is needed to verify chunks. */
export interface ChunkSigning {
  readonly key: Uint8Array;
  /** `YYYYMMDDTHHMMSSZ` of the request. */
  readonly time: string;
  /** `<day>/<region>/s3/aws4_request`. */
  readonly scope: string;
  /** The request's own signature, which the first chunk continues. */
  readonly seed: string;
  /** Whether checksum headers follow the last chunk (`...-PAYLOAD-TRAILER`). */
  readonly trailer: boolean;
}

const maxHeader = 512;
const maxTrailer = 4096;
/** The store refuses chunks of less than 8 KiB before the last one. */
const minFrame = 16_384;

/**
 * Reads an `aws-chunked` body whose chunks are signed, verifies it, and gives on
 * - without a trailer: the bare content;
 * - with one: the content framed anew as an unsigned `aws-chunked` body with the same checksum headers, for the store to check.
 *
 * Data goes on as it comes, but for the last byte so far: that is held until everything is verified. A body that was tampered with is
 * therefore never whole at the object store, which drops it. Errors with an S3Error.
 */
export class SignedChunks extends Transform {
  readonly #signing: ChunkSigning;
  /** Bytes of content that are still to come, as `x-amz-decoded-content-length` says. */
  #missing: number;
  #previous: string;
  #buffer: Buffer = Buffer.alloc(0);
  #state: "header" | "data" | "end" | "trailer" | "done" = "header";
  #left = 0;
  #claimed = "";
  #hash = createHash("sha256");
  #held: Buffer = Buffer.alloc(0);

  /** @param length of the content, in bytes. */
  constructor(signing: ChunkSigning, length: number) {
    super();
    this.#signing = signing;
    this.#missing = length;
    this.#previous = signing.seed;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    try {
      this.#buffer = this.#buffer.length === 0 ? data : Buffer.concat([this.#buffer, data]);
      while (this.#step()) {}
      done();
    } catch (error) {
      done(error as Error);
    }
  }

  override _flush(done: TransformCallback): void {
    done(this.#state === "done" ? null : new S3Error("IncompleteBody", "The chunked body ends too early."));
  }

  #step(): boolean {
    if (this.#state === "header") return this.#readHeader();
    if (this.#state === "data") return this.#readData();
    if (this.#state === "end") return this.#readEnd();
    if (this.#state === "trailer") return this.#readTrailer();
    if (this.#buffer.length > 0) throw new S3Error("IncompleteBody", "There is data behind the last chunk.");
    return false;
  }

  #readHeader(): boolean {
    const line = this.#takeLine(maxHeader);
    if (line === undefined) return false;
    const [, size, signature] = /^([0-9a-fA-F]{1,10});chunk-signature=([0-9a-f]{64})$/.exec(line) ?? [];
    if (size === undefined || signature === undefined)
      throw new S3Error("InvalidRequest", "A chunk's header is malformed.");
    this.#left = Number.parseInt(size, 16);
    this.#claimed = signature;
    this.#hash = createHash("sha256");
    if (this.#left > 0) this.#state = "data";
    else {
      this.#verify(emptyHash);
      this.#state = this.#signing.trailer ? "trailer" : "end";
    }
    return true;
  }

  #readData(): boolean {
    if (this.#buffer.length === 0) return false;
    const piece = this.#buffer.subarray(0, this.#left);
    this.#buffer = this.#buffer.subarray(piece.length);
    this.#left -= piece.length;
    this.#missing -= piece.length;
    if (this.#missing < 0)
      throw new S3Error("IncompleteBody", "There is more content than x-amz-decoded-content-length says.");
    this.#hash.update(piece);
    this.#give(piece);
    if (this.#left === 0) this.#state = "end";
    return true;
  }

  /** The line break behind a chunk's data, or behind the last, empty chunk. */
  #readEnd(): boolean {
    const line = this.#takeLine(2);
    if (line === undefined) return false;
    if (line !== "") throw new S3Error("InvalidRequest", "A chunk is longer than it says.");
    if (this.#claimed === "") {
      this.#finish("");
      return true;
    }
    this.#verify(this.#hash.digest("hex"));
    this.#state = "header";
    return true;
  }

  #readTrailer(): boolean {
    const end = this.#buffer.indexOf("\r\n\r\n");
    if (end === -1) {
      if (this.#buffer.length > maxTrailer) throw new S3Error("InvalidRequest", "The trailer is too long.");
      return false;
    }
    const lines = this.#buffer.subarray(0, end).toString("latin1").split("\r\n");
    this.#buffer = this.#buffer.subarray(end + 4);
    const signature = lines.map((line) => /^x-amz-trailer-signature:\s*([0-9a-f]{64})$/i.exec(line)?.[1]).find(Boolean);
    const headers = lines.filter((line) => !/^x-amz-trailer-signature:/i.test(line) && line !== "");
    const canonical = headers
      .map((line) => `${line.replace(/^([^:]*):\s*/, (_, n: string) => `${n.toLowerCase()}:`).trim()}\n`)
      .join("");
    this.#claimed = signature ?? "";
    this.#compare("AWS4-HMAC-SHA256-TRAILER", sha256(canonical));
    this.#finish(canonical.replaceAll("\n", "\r\n"));
    return true;
  }

  #verify(hash: string): void {
    this.#compare("AWS4-HMAC-SHA256-PAYLOAD", `${emptyHash}\n${hash}`);
    this.#previous = this.#claimed;
    if (hash === emptyHash) this.#claimed = "";
  }

  #compare(algorithm: string, hashes: string): void {
    const text = [algorithm, this.#signing.time, this.#signing.scope, this.#previous, hashes].join("\n");
    const expected = hmac(this.#signing.key, text).toString("hex");
    if (
      expected.length !== this.#claimed.length ||
      !timingSafeEqual(Buffer.from(expected), Buffer.from(this.#claimed))
    ) {
      throw new S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match its content.");
    }
  }

  #give(piece: Buffer): void {
    const all = Buffer.concat([this.#held, piece]);
    const enough = all.length > (this.#signing.trailer ? minFrame : 1);
    if (enough) this.#frame(all.subarray(0, -1));
    // A copy, so that one byte does not keep a whole network buffer alive.
    this.#held = enough ? Buffer.from(all.subarray(-1)) : all;
  }

  #finish(trailer: string): void {
    if (this.#missing > 0)
      throw new S3Error("IncompleteBody", "There is less content than x-amz-decoded-content-length says.");
    this.#frame(this.#held);
    if (this.#signing.trailer) this.push(`0\r\n${trailer}\r\n`);
    this.#state = "done";
  }

  #frame(piece: Buffer): void {
    if (piece.length === 0) return;
    if (this.#signing.trailer) this.push(`${piece.length.toString(16)}\r\n`);
    this.push(piece);
    if (this.#signing.trailer) this.push("\r\n");
  }

  #takeLine(limit: number): string | undefined {
    const end = this.#buffer.subarray(0, limit + 2).indexOf("\r\n");
    if (end === -1) {
      if (this.#buffer.length > limit) throw new S3Error("InvalidRequest", "A line of the chunked body is too long.");
      return undefined;
    }
    const line = this.#buffer.subarray(0, end).toString("latin1");
    this.#buffer = this.#buffer.subarray(end + 2);
    return line;
  }
}
