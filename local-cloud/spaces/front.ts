import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { SpacesKeys } from "../types.ts";
import { type Address, parseAddress } from "./address.ts";
import * as buckets from "./buckets.ts";
import { answerError, answerUpstream, type Context, resourceOf } from "./context.ts";
import * as objects from "./objects.ts";
import { findOperation, isGranted, type OperationName, passedQuery } from "./operations.ts";
import { bodyReaders, choosePassed } from "./payload.ts";
import { checkedPath, hoistedHeaders, readHeaders, readQuery, readTarget } from "./read-request.ts";
import { S3Error } from "./s3-error.ts";
import { type FoundSignature, findSignature, type SignableRequest, verifySignature } from "./signature.ts";
import type { SpacesStore } from "./store.ts";
import { sendUpstream, type UpstreamRequest } from "./upstream.ts";
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

/** Headers that would have an effect which is not there: better refused than ignored. */
const refusedHeaders =
  /^x-amz-(grant-|object-lock-|server-side-encryption|tagging$|website-redirect-location$|write-offset-bytes$|copy-source-server-side-)/;

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

/** Answers a request for a host that is not ours. */
export function refuse(response: ServerResponse, reason: string): void {
  response.writeHead(403, { "content-type": "text/plain; charset=utf-8", connection: "close" }).end(`${reason}\n`);
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
