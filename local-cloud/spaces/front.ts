import { createHash, randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { SpacesKeys } from "../types.ts";
import { type Address, parseAddress, parseHost } from "./address.ts";
import * as buckets from "./buckets.ts";
import { answerError, answerUpstream, type Context, resourceOf } from "./context.ts";
import * as objects from "./objects.ts";
import { findOperation, isGranted, type OperationName, passedQuery } from "./operations.ts";
import { S3Error } from "./s3-error.ts";
import {
  type FoundSignature,
  findSignature,
  type SignableRequest,
  sha256,
  signingKey,
  unsignedPayload,
  verifySignature,
} from "./signature.ts";
import { SignedChunks } from "./signed-chunks.ts";
import type { SpacesStore } from "./store.ts";
import { readAll, sendUpstream, type UpstreamRequest } from "./upstream.ts";
import type { ObjectStore } from "./versitygw.ts";

/** What the front works with. */
export interface Front {
  readonly upstream: ObjectStore;
  readonly store: SpacesStore;
  readonly keys: SpacesKeys;
  readonly regions: readonly string[];
  /** Host names end in this: `<region>.<suffix>`. */
  readonly suffix: string;
  readonly log: (line: string) => void;
}

type Handler = (context: Context & { readonly bucket: string; readonly key: string }) => void | Promise<void>;

const handlers: Readonly<Record<OperationName, Handler>> = {
  ListBuckets: buckets.listBuckets,
  CreateBucket: buckets.createBucket,
  HeadBucket: buckets.headBucket,
  DeleteBucket: buckets.deleteBucket,
  ListObjects: buckets.passListing,
  ListObjectVersions: buckets.passListing,
  ListMultipartUploads: buckets.passListing,
  DeleteObjects: objects.deleteObjects,
  GetBucketLocation: buckets.getBucketLocation,
  GetBucketAcl: buckets.getBucketAcl,
  PutBucketAcl: buckets.putBucketAcl,
  GetBucketLifecycle: buckets.getBucketLifecycle,
  PutBucketLifecycle: buckets.putBucketLifecycle,
  DeleteBucketLifecycle: buckets.deleteBucketLifecycle,
  GetBucketLogging: buckets.getBucketLogging,
  PutBucketLogging: buckets.putBucketLogging,
  GetBucketCors: buckets.passConfiguration,
  PutBucketCors: buckets.passConfiguration,
  DeleteBucketCors: buckets.passConfiguration,
  GetBucketVersioning: buckets.passConfiguration,
  PutBucketVersioning: buckets.passConfiguration,
  GetBucketPolicy: buckets.passConfiguration,
  PutBucketPolicy: buckets.passConfiguration,
  DeleteBucketPolicy: buckets.passConfiguration,
  GetObject: objects.readObject,
  HeadObject: objects.readObject,
  PutObject: objects.putObject,
  DeleteObject: objects.deleteObject,
  GetObjectAcl: objects.getObjectAcl,
  PutObjectAcl: objects.putObjectAcl,
  CreateMultipartUpload: objects.createUpload,
  UploadPart: objects.uploadPart,
  CompleteMultipartUpload: objects.completeUpload,
  AbortMultipartUpload: objects.abortUpload,
  ListParts: objects.readObject,
};

/** Headers that may go on to the object store, besides `x-amz-meta-*`, `x-amz-checksum-*` and `x-amz-copy-source*`. */
const passedHeaders = new Set(
  (
    "cache-control content-disposition content-encoding content-language content-md5 content-type expires if-match if-modified-since " +
    "if-none-match if-unmodified-since origin range x-amz-metadata-directive x-amz-sdk-checksum-algorithm x-amz-trailer x-amz-decoded-content-length"
  ).split(" "),
);

/** Headers that would have an effect which is not there: better refused than ignored. */
const refusedHeaders =
  /^x-amz-(grant-|object-lock-|server-side-encryption|tagging$|website-redirect-location$|write-offset-bytes$|copy-source-server-side-)/;

const authenticating =
  /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|content-sha256|security-token)$/;
const smallBodyLimit = 4 << 20;
const maxUpload = 5 * 1024 ** 3;

/**
 * Answers one request: in origin form for a host below the suffix, or in absolute form as from a client that has this as its HTTP proxy.
 * @param willContinue called before the body is read when the client waits for `100 Continue`.
 */
export async function handleRequest(
  front: Front,
  request: IncomingMessage,
  response: ServerResponse,
  willContinue: () => void = () => {},
): Promise<void> {
  const requestId = `tx${randomBytes(10).toString("hex")}-${Math.floor(Date.now() / 1000).toString(16)}`;
  const method = request.method ?? "";
  const target = readTarget(front, request);
  if (typeof target === "string") {
    refuse(response, target);
    return;
  }
  let address: Address = target.host;
  try {
    const headers = readHeaders(request);
    const query = readQuery(target.query);
    const path = decodeURIComponent(checkedPath(target.path));
    address = parseAddress(target.host, target.path);
    const bucket = address.bucket === undefined ? undefined : front.store.bucket(address.bucket);
    const controller = new AbortController();
    response.on("close", () => response.writableFinished || controller.abort());
    const base = {
      upstream: front.upstream,
      store: front.store,
      response,
      requestId,
      method,
      ...address,
      signal: controller.signal,
    };

    if (method === "OPTIONS") {
      await preflight(front, { ...base, headers });
      return;
    }
    const signable: SignableRequest = { method, path, query, headers };
    const found = findSignature(signable);
    const secretKey = found === undefined ? undefined : authenticate(front, signable, found);
    const operation = findOperation(method, address, query);
    const hoisted = found?.expires === undefined ? [] : hoistedHeaders(query);
    const effective = new Map([...headers, ...hoisted]);
    const grants = found === undefined ? [] : (front.keys.find(found.accessKey)?.grants ?? []);
    const granted = isGranted(grants, operation.need, address.bucket);
    const isRead = ["GetObject", "HeadObject", "ListObjects", "HeadBucket"].includes(operation.name);
    // What is open to everybody is open to every key.
    if (!granted && !isRead) throw new S3Error("AccessDenied");
    if (address.bucket !== undefined && operation.name !== "CreateBucket" && bucket?.region !== address.region) {
      throw new S3Error("NoSuchBucket");
    }
    if ([...effective.keys()].some((name) => refusedHeaders.test(name))) {
      throw new S3Error(
        "NotImplemented",
        "A header of this request asks for what Spaces, or the local one, does not have.",
      );
    }
    const body = bodyReaders(request, { headers: effective, query, found, secretKey, willContinue });
    const context: Context = {
      ...base,
      operation,
      grants,
      headers: effective,
      passedHeaders: choosePassed(effective, body.kind),
      passedQuery: passedQuery(operation, query),
      streamBody: body.stream,
      smallBody: body.small,
    };
    if (granted) await handlers[operation.name](context as Parameters<Handler>[0]);
    else await readWithoutKey(context as Parameters<Handler>[0]);
  } catch (error) {
    fail(front, { request, response, requestId, method }, error, address);
  }
}

/** Anonymous reads: public objects, lists of public buckets, and what a bucket's policy opens. */
async function readWithoutKey(context: Parameters<Handler>[0]): Promise<void> {
  if (context.key !== undefined) return objects.readAnonymously(context);
  const record = context.store.bucket(context.bucket);
  if (record?.acl === "public-read") return handlers[context.operation.name](context);
  if (record?.policy !== 1) throw new S3Error("AccessDenied");
  const { bucket, method, passedHeaders: headers, passedQuery: query, signal } = context;
  await answerUpstream(
    context,
    await sendUpstream(context.upstream, { method, bucket, headers, query, signal, anonymous: true }),
  );
}

/** A browser's question before a cross-origin request; the store answers it from the bucket's CORS rules. */
async function preflight(
  front: Front,
  base: Omit<Context, "operation" | "grants" | "passedHeaders" | "passedQuery" | "streamBody" | "smallBody">,
): Promise<void> {
  if (base.bucket === undefined || front.store.bucket(base.bucket)?.region !== base.region)
    throw new S3Error("NoSuchBucket");
  const { bucket, key, signal } = base;
  const headers = new Map(
    [...base.headers].filter(([name]) => name === "origin" || name.startsWith("access-control-request-")),
  );
  const sent: UpstreamRequest = {
    method: "OPTIONS",
    bucket,
    headers,
    signal,
    anonymous: true,
    ...(key === undefined ? {} : { key }),
  };
  await answerUpstream(base as Context, await sendUpstream(front.upstream, sent));
}

function authenticate(front: Front, signable: SignableRequest, found: FoundSignature): string {
  const key = front.keys.find(found.accessKey);
  if (key === undefined) throw new S3Error("InvalidAccessKeyId");
  verifySignature(signable, found, key.secretKey, Date.now());
  return key.secretKey;
}

type Target = { readonly host: Omit<Address, "key">; readonly path: string; readonly query: string };

/** Takes the request target apart; a string says why it is refused. */
function readTarget(front: Front, request: IncomingMessage): Target | string {
  const [, scheme, authority, path = "/", query = ""] =
    /^(?:([a-z]+):\/\/([^/?#]*))?(\/[^?#]*)?(?:\?([^#]*))?/i.exec(request.url ?? "") ?? [];
  const named = request.headers.host ?? "";
  const host = authority ?? named;
  const known = parseHost(host, front.suffix, front.regions);
  if (scheme !== undefined && scheme.toLowerCase() !== "http")
    return `This proxy speaks plain HTTP only, not ${scheme}.`;
  if (known === undefined) {
    return `"${host}" is not served here: this is Spaces (and an HTTP proxy) for <region>.${front.suffix} and <bucket>.<region>.${front.suffix} only.`;
  }
  if (authority !== undefined && authority.toLowerCase() !== named.toLowerCase())
    return "The Host header does not match the request target.";
  return { host: known, path, query };
}

/** Answers a request for a host that is not ours. */
export function refuse(response: ServerResponse, reason: string): void {
  response.writeHead(403, { "content-type": "text/plain; charset=utf-8", connection: "close" }).end(`${reason}\n`);
}

function checkedPath(path: string): string {
  try {
    decodeURIComponent(path);
  } catch {
    throw new S3Error("InvalidURI");
  }
  return path;
}

/** Headers by lower-case name. One that signs, routes or says how long the body is must not come twice. */
function readHeaders(request: IncomingMessage): Map<string, string> {
  const headers = new Map<string, string>();
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    const name = (request.rawHeaders[i] ?? "").toLowerCase();
    const value = (request.rawHeaders[i + 1] ?? "").trim();
    const before = headers.get(name);
    if (before !== undefined && (/^x-amz-|^content-/.test(name) || ["host", "authorization", "range"].includes(name))) {
      throw new S3Error("InvalidRequest", `The header "${name}" is given twice.`);
    }
    headers.set(name, before === undefined ? value : `${before},${value}`);
  }
  return headers;
}

function readQuery(query: string): (readonly [string, string])[] {
  const decode = (text: string) => decodeURIComponent(text.replaceAll("+", " "));
  try {
    return query
      .split("&")
      .filter(Boolean)
      .map((pair) => {
        const equals = pair.indexOf("=");
        return equals === -1 ? [decode(pair), ""] : [decode(pair.slice(0, equals)), decode(pair.slice(equals + 1))];
      });
  } catch {
    throw new S3Error("InvalidURI", "The query of the request cannot be decoded.");
  }
}

/**
 * Clients that presign move `x-amz-*` headers into the query, where the signature covers them as well.
 * @throws S3Error InvalidArgument for a value that could not have been a header.
 */
function hoistedHeaders(query: readonly (readonly [string, string])[]): (readonly [string, string])[] {
  // Text in headers is UTF-8 byte for byte, which Node has as latin1.
  const bytes = (value: string) => Buffer.from(value, "utf8").toString("latin1");
  const hoisted = query.map(([name, value]) => [name.toLowerCase(), bytes(value)] as const);
  const headers = hoisted.filter(([name]) => name.startsWith("x-amz-") && !authenticating.test(name));
  for (const [name, value] of headers) {
    if (!/^[a-z0-9-]+$/.test(name) || /[^\t -~\x80-\xff]/.test(value))
      throw new S3Error("InvalidArgument", "A parameter is no header.");
  }
  return headers;
}

type PayloadKind = "plain" | "chunked-signed" | "chunked-signed-trailer" | "chunked-trailer";

function choosePassed(headers: ReadonlyMap<string, string>, kind: PayloadKind): Map<string, string> {
  const passed = new Map<string, string>();
  const trailing = kind === "chunked-trailer" || kind === "chunked-signed-trailer";
  for (const [name, value] of headers) {
    const known = passedHeaders.has(name) || /^x-amz-(meta-|checksum-|copy-source)/.test(name);
    const framing = name === "x-amz-trailer" || name === "x-amz-decoded-content-length";
    if (known && name !== "x-amz-meta-chillbox-id" && (trailing || !framing)) passed.set(name, value);
  }
  const encoding = passed
    .get("content-encoding")
    ?.split(",")
    .map((coding) => coding.trim())
    .filter((coding) => coding !== "aws-chunked");
  if (encoding !== undefined) passed.delete("content-encoding");
  if (encoding !== undefined && encoding.length > 0) passed.set("content-encoding", encoding.join(","));
  return passed;
}

interface Payload {
  readonly headers: ReadonlyMap<string, string>;
  readonly query: readonly (readonly [string, string])[];
  readonly found: FoundSignature | undefined;
  readonly secretKey: string | undefined;
  readonly willContinue: () => void;
}

function bodyReaders(
  request: IncomingMessage,
  payload: Payload,
): {
  kind: PayloadKind;
  stream: Context["streamBody"];
  small: Context["smallBody"];
} {
  const { headers, query, found, secretKey } = payload;
  const inQuery = query.find(([name]) => name.toLowerCase() === "x-amz-content-sha256")?.[1];
  const stated = (found?.expires === undefined ? undefined : inQuery) ?? headers.get("x-amz-content-sha256");
  const hash = stated ?? (found?.expires === undefined ? "" : unsignedPayload);
  const kind = kindOf(hash);
  const stream = (): NonNullable<UpstreamRequest["body"]> => {
    if (found === undefined || secretKey === undefined) throw new S3Error("AccessDenied");
    const encoded = readLength(headers.get("content-length"));
    const decoded = readLength(headers.get("x-amz-decoded-content-length"));
    const length = kind === "plain" ? encoded : decoded;
    if (length === undefined) throw new S3Error("MissingContentLength");
    if (length > maxUpload) throw new S3Error("EntityTooLarge");
    if (hash === "")
      throw new S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256.");
    payload.willContinue();
    if (kind === "plain" || kind === "chunked-trailer") return { stream: request, hash, length: encoded };
    const trailer = kind === "chunked-signed-trailer";
    const { day, region, time, signature: seed } = found;
    const scope = `${day}/${region}/s3/aws4_request`;
    const chunks = new SignedChunks({ key: signingKey(secretKey, found), time, scope, seed, trailer }, length);
    // Whoever reads them hears of errors; where nobody came to that, they must not end the program.
    chunks.on("error", () => {});
    request.pipe(chunks);
    return trailer
      ? { stream: chunks, hash: "STREAMING-UNSIGNED-PAYLOAD-TRAILER", length: undefined }
      : { stream: chunks, hash: unsignedPayload, length };
  };
  const small = async (): Promise<Buffer> => {
    payload.willContinue();
    const body = await readAll(request, smallBodyLimit);
    if (kind !== "plain") throw new S3Error("NotImplemented", "This operation does not take a chunked body.");
    if (hash === "" && body.length > 0)
      throw new S3Error("InvalidRequest", "Missing required header for this request: x-amz-content-sha256.");
    if (hash !== "" && hash !== unsignedPayload && hash !== sha256(body))
      throw new S3Error("XAmzContentSHA256Mismatch");
    const md5 = headers.get("content-md5");
    if (md5 !== undefined && md5 !== createHash("md5").update(body).digest("base64")) throw new S3Error("BadDigest");
    return body;
  };
  return { kind, stream, small };
}

function kindOf(hash: string): PayloadKind {
  if (hash === "" || hash === unsignedPayload || /^[0-9a-f]{64}$/.test(hash)) return "plain";
  if (hash === "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") return "chunked-signed";
  if (hash === "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") return "chunked-signed-trailer";
  if (hash === "STREAMING-UNSIGNED-PAYLOAD-TRAILER") return "chunked-trailer";
  throw new S3Error("NotImplemented", "Unknown x-amz-content-sha256.");
}

function readLength(value: string | undefined): number | undefined {
  return value !== undefined && /^\d{1,15}$/.test(value) ? Number(value) : undefined;
}

function fail(
  front: Front,
  exchange: { request: IncomingMessage; response: ServerResponse; requestId: string; method: string },
  error: unknown,
  address: Address,
): void {
  const { request, response } = exchange;
  const known = error instanceof S3Error;
  if (!known && !response.destroyed)
    front.log(`spaces: ${exchange.requestId} ${exchange.method} ${resourceOf(address)}: ${String(error)}`);
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  // A client that still waits for "100 Continue" may or may not send its body now.
  if (!request.complete && request.headers.expect !== undefined) response.setHeader("connection", "close");
  answerError(exchange, known ? error : new S3Error("InternalError"), resourceOf(address));
  request.resume();
}
