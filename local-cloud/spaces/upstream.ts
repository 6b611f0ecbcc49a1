import { type ClientRequest, type IncomingMessage, request } from "node:http";
import type { Readable } from "node:stream";
import { S3Error } from "./s3-error.ts";
import { SignChunks } from "./sign-chunks.ts";
import { encodePath, encodeQuery, sha256, signedHeaders, signingKey, unsignedPayload } from "./signature.ts";
import type { ObjectStore } from "./versitygw.ts";

const signedChunksHash = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";

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
  const resigned = !Buffer.isBuffer(body) && body.hash === unsignedPayload;
  const plain = new Map([...(sent.headers ?? []), ["host", "localhost"]]);
  if (resigned) plain.set("x-amz-decoded-content-length", String(body.length));
  const hash = resigned ? signedChunksHash : Buffer.isBuffer(body) ? sha256(body) : body.hash;
  const signable = { method: sent.method, path, query, headers: plain };
  const headers = sent.anonymous ? plain : signedHeaders(signable, store, hash, Date.now());
  const length = resigned ? undefined : body.length;
  if (length !== undefined && (length > 0 || !["GET", "HEAD", "DELETE"].includes(sent.method))) {
    headers.set("content-length", String(length));
  }
  const encodedQuery = encodeQuery(query);
  const outgoing = request({
    socketPath: store.socketPath,
    method: sent.method,
    path: encodePath(path) + (encodedQuery === "" ? "" : `?${encodedQuery}`),
    // A connection of its own, which only we close: an upload cannot be sent again when a kept connection turns out to be gone, and a
    // store that closes first makes Node's last, empty write fail before the answer is read.
    headers: { ...Object.fromEntries(headers), connection: "keep-alive" },
    agent: false,
    ...(sent.signal === undefined ? {} : { signal: sent.signal }),
  });
  if (Buffer.isBuffer(body)) return answerTo(outgoing, body);
  return answerTo(outgoing, resigned ? signChunks(body.stream, store, headers) : body.stream);
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

function signChunks(stream: Readable, store: ObjectStore, headers: ReadonlyMap<string, string>): Readable {
  const time = headers.get("x-amz-date") ?? "";
  const on = { day: time.slice(0, 8), region: store.region };
  const seed = /Signature=([0-9a-f]{64})$/.exec(headers.get("authorization") ?? "")?.[1] ?? "";
  const scope = `${on.day}/${on.region}/s3/aws4_request`;
  const signer = new SignChunks({ key: signingKey(store.secretKey, on), time, scope, seed, trailer: false });
  stream.once("error", (error) => signer.destroy(error));
  signer.once("close", () => {
    stream.unpipe(signer);
    stream.resume();
  });
  return stream.pipe(signer);
}

function unreachable(error: Error): Error {
  const gone = ["ECONNREFUSED", "ENOENT", "ECONNRESET", "EPIPE"].includes((error as NodeJS.ErrnoException).code ?? "");
  return gone ? new S3Error("SlowDown") : error;
}
