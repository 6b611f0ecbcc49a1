import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { S3Error } from "./s3-error.ts";
import { emptyHash, encodePath, encodeQuery, sha256, signedHeaders } from "./signature.ts";
import type { ObjectStore } from "./versitygw.ts";

/** A request to the object store. */
export interface UpstreamRequest {
  readonly method: string;
  readonly bucket?: string;
  readonly key?: string;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: ReadonlyMap<string, string>;
  /** Nothing, bytes that are all here, or a stream with its payload hash and length in bytes (`undefined`: chunked). */
  readonly body?: Buffer | { readonly stream: Readable; readonly hash: string; readonly length: number | undefined };
  /** Not signed, so that the store's own policies decide. */
  readonly anonymous?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Sends a request to the object store, signed with its root key, and resolves to the answer once its headers are there.
 * @throws S3Error SlowDown when the store cannot be reached, or what the body's stream failed with.
 */
export async function sendUpstream(store: ObjectStore, sent: UpstreamRequest): Promise<IncomingMessage> {
  const path = `/${[sent.bucket, sent.key].filter((part) => part !== undefined).join("/")}`;
  const query = sent.query ?? [];
  const body = sent.body ?? Buffer.alloc(0);
  const hash = Buffer.isBuffer(body) ? (body.length === 0 ? emptyHash : sha256(body)) : body.hash;
  const { length } = body;
  const plain = new Map([...(sent.headers ?? []), ["host", "localhost"]]);
  const signable = { method: sent.method, path, query, headers: plain };
  const headers = sent.anonymous ? plain : signedHeaders(signable, store, hash, Date.now());
  if (length !== undefined && (length > 0 || !["GET", "HEAD", "DELETE"].includes(sent.method))) {
    headers.set("content-length", String(length));
  }
  const encodedQuery = encodeQuery(query);
  const outgoing = request({
    socketPath: store.socketPath,
    method: sent.method,
    path: encodePath(path) + (encodedQuery === "" ? "" : `?${encodedQuery}`),
    headers: Object.fromEntries(headers),
    // A connection of its own: an upload cannot be sent again when a kept connection turns out to be closed.
    agent: false,
    ...(sent.signal === undefined ? {} : { signal: sent.signal }),
  });
  return answerTo(outgoing, Buffer.isBuffer(body) ? body : body.stream);
}

/** Reads a whole small answer. @throws S3Error InternalError when it is longer than `limit` bytes. */
export async function readAll(stream: Readable, limit = 1 << 20): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of stream) {
    size += (part as Buffer).length;
    if (size > limit) throw new S3Error("EntityTooLarge");
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts);
}

/**
 * Resolves to the answer. Not `stream.pipeline`: when the store answers before it has read everything, that would also destroy the
 * client's connection, and with it the way to tell the client why.
 */
function answerTo(outgoing: ClientRequest, body: Buffer | Readable): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    outgoing.once("response", resolve);
    // For good: the store may also go away after it has answered.
    outgoing.on("error", (error) => reject(failure ?? unreachable(error)));
    if (Buffer.isBuffer(body)) {
      outgoing.end(body);
      return;
    }
    body.once("error", (error) => {
      failure = error;
      outgoing.destroy(error);
      reject(error);
    });
    outgoing.once("close", () => {
      body.unpipe(outgoing);
      body.resume();
    });
    body.pipe(outgoing);
  });
}

function unreachable(error: Error): Error {
  const gone = ["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"].includes((error as NodeJS.ErrnoException).code ?? "");
  return gone ? new S3Error("SlowDown") : error;
}
