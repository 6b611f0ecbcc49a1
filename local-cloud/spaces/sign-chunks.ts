import { Transform, type TransformCallback } from "node:stream";
import { emptyHash, hmac, sha256 } from "./signature.ts";
import type { ChunkSigning } from "./signed-chunks.ts";

/** The store refuses chunks of less than 8 KiB before the last one. */
const chunkSize = 65_536;

/**
 * Frames a body as signed chunks. The store takes an unsigned body that breaks off for a whole one (an upload whose client went away
 * would replace the object by its first half); it does not do so with chunks, whose end is signed.
 */
export class SignChunks extends Transform {
  readonly #signing: ChunkSigning;
  #previous: string;
  #waiting: Buffer[] = [];
  #size = 0;

  constructor(signing: ChunkSigning) {
    super();
    this.#signing = signing;
    this.#previous = signing.seed;
  }

  override _transform(data: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#waiting.push(data);
    this.#size += data.length;
    if (this.#size >= chunkSize) this.#emitChunk();
    done();
  }

  override _flush(done: TransformCallback): void {
    if (this.#size > 0) this.#emitChunk();
    this.#emitChunk();
    done();
  }

  #emitChunk(): void {
    const { key, time, scope } = this.#signing;
    const chunk = Buffer.concat(this.#waiting);
    this.#waiting = [];
    this.#size = 0;
    const text = ["AWS4-HMAC-SHA256-PAYLOAD", time, scope, this.#previous, emptyHash, sha256(chunk)].join("\n");
    this.#previous = hmac(key, text).toString("hex");
    this.push(`${chunk.length.toString(16)};chunk-signature=${this.#previous}\r\n`);
    this.push(Buffer.concat([chunk, Buffer.from("\r\n")]));
  }
}
