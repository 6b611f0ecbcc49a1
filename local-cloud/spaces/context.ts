import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import type { SpacesGrant } from "../types.ts";
import type { Operation } from "./operations.ts";
import { S3Error } from "./s3-error.ts";
import type { Acl, SpacesStore } from "./store.ts";
import { readAll, type UpstreamRequest } from "./upstream.ts";
import type { ObjectStore } from "./versitygw.ts";
import { escapeXml } from "./xml.ts";

/** Everything that an operation needs of its request, checked. */
export interface Context {
  readonly upstream: ObjectStore;
  readonly store: SpacesStore;
  readonly method: string;
  readonly region: string;
  readonly bucket?: string;
  readonly key?: string;
  readonly operation: Operation;
  /** Empty for anonymous requests. */
  readonly grants: readonly SpacesGrant[];
  readonly headers: ReadonlyMap<string, string>;
  /** Headers and query parameters that may go on to the object store. */
  readonly passedHeaders: ReadonlyMap<string, string>;
  readonly passedQuery: readonly (readonly [string, string])[];
  readonly response: ServerResponse;
  readonly requestId: string;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
  /** The body of an upload, to be verified while it is streamed. May be called once. */
  streamBody(): NonNullable<UpstreamRequest["body"]>;
  /** The whole body of a configuration request (4 MiB at most), verified. May be called once. */
  smallBody(): Promise<Buffer>;
}

/** Metadata by which an object's content is tied to its ACL. Never shown to clients, never taken from them. */
export const idHeader = "x-amz-meta-chillbox-id";
export const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
const owner = "<Owner><ID>chillbox</ID><DisplayName>chillbox</DisplayName></Owner>";
const declaration = '<?xml version="1.0" encoding="UTF-8"?>\n';

const shownHeaders = new Set(
  (
    "accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods access-control-allow-origin " +
    "access-control-expose-headers access-control-max-age cache-control content-disposition content-encoding content-language content-length " +
    "content-range content-type etag expires last-modified vary x-amz-abort-date x-amz-abort-rule-id x-amz-copy-source-version-id " +
    "x-amz-delete-marker x-amz-missing-meta x-amz-mp-parts-count x-amz-version-id"
  ).split(" "),
);

/**
 * The canned ACL that a request asks for by `x-amz-acl`.
 * @throws S3Error for one that Spaces does not have, and for grants to single accounts.
 */
export function wantedAcl(headers: ReadonlyMap<string, string>): Acl | undefined {
  const acl = headers.get("x-amz-acl");
  if (acl === undefined || acl === "private" || acl === "public-read") return acl;
  throw new S3Error("InvalidArgument", "Spaces has the ACLs private and public-read only.");
}

/** A canned ACL as `?acl` answers it. */
export function aclXml(acl: Acl): string {
  const xsi = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"';
  const everyone = `<Grant><Grantee ${xsi} xsi:type="Group"><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee><Permission>READ</Permission></Grant>`;
  const own = `<Grant><Grantee ${xsi} xsi:type="CanonicalUser"><ID>chillbox</ID><DisplayName>chillbox</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant>`;
  const list = own + (acl === "public-read" ? everyone : "");
  return `<AccessControlPolicy xmlns="${namespace}">${owner}<AccessControlList>${list}</AccessControlList></AccessControlPolicy>`;
}

/** The list of buckets as `GET /` answers it. */
export function bucketsXml(buckets: readonly { readonly name: string; readonly created: string }[]): string {
  const list = buckets.map(
    (b) => `<Bucket><Name>${escapeXml(b.name)}</Name><CreationDate>${b.created}</CreationDate></Bucket>`,
  );
  return `<ListAllMyBucketsResult xmlns="${namespace}">${owner}<Buckets>${list.join("")}</Buckets></ListAllMyBucketsResult>`;
}

/** Answers an XML document, to which the declaration is added; HEAD gets its headers alone. */
export function answerXml(
  context: Pick<Context, "response" | "requestId" | "method">,
  status: number,
  xml: string,
): void {
  const body = Buffer.from(declaration + xml, "utf8");
  context.response.writeHead(status, {
    "content-type": "application/xml",
    "content-length": body.length,
    "x-amz-request-id": context.requestId,
  });
  context.response.end(context.method === "HEAD" ? undefined : body);
}

/** Answers without a body. */
export function answerEmpty(
  context: Pick<Context, "response" | "requestId">,
  status: 200 | 204,
  headers: Record<string, string> = {},
): void {
  const length = status === 200 ? { "content-length": "0" } : {};
  context.response.writeHead(status, { ...length, ...headers, "x-amz-request-id": context.requestId }).end();
}

/** Answers an S3 error; HEAD has no body. */
export function answerError(
  context: Pick<Context, "response" | "requestId" | "method">,
  error: { readonly code: string; readonly message: string; readonly status: number },
  resource: string,
): void {
  const text = `<Code>${escapeXml(error.code)}</Code><Message>${escapeXml(error.message)}</Message><Resource>${escapeXml(resource)}</Resource>`;
  answerXml(
    context,
    error.status,
    `<Error>${text}<RequestId>${context.requestId}</RequestId><HostId>chillbox-spaces</HostId></Error>`,
  );
}

/**
 * Passes an answer of the object store on, with this request's id; its errors are written anew.
 * @param text the answer's body when it was read already.
 */
export async function answerUpstream(context: Context, answer: IncomingMessage, text?: Buffer): Promise<void> {
  const status = answer.statusCode ?? 500;
  const { response } = context;
  if (status >= 400 && (context.method !== "HEAD" || status >= 500)) {
    answerError(
      context,
      upstreamError(status, (text ?? (await readAll(answer))).toString("utf8")),
      resourceOf(context),
    );
    return;
  }
  response.statusCode = status;
  for (const [name, value] of Object.entries(answer.headers)) {
    const metadata = (name.startsWith("x-amz-meta-") && name !== idHeader) || name.startsWith("x-amz-checksum-");
    if (value !== undefined && (shownHeaders.has(name) || metadata)) response.setHeader(name, value);
  }
  response.setHeader("x-amz-request-id", context.requestId);
  if (text !== undefined) {
    response.setHeader("content-length", text.length);
    response.end(text);
    return;
  }
  // Not a failure of ours when the client goes away in the middle.
  await pipeline(answer, response).catch(() => response.destroy());
}

/** What an error's `Resource` names. */
export function resourceOf(context: { readonly bucket?: string; readonly key?: string }): string {
  return `/${[context.bucket, context.key].filter((part) => part !== undefined).join("/")}`;
}

function upstreamError(status: number, xml: string): { code: string; message: string; status: number } {
  const code = /<Code>([A-Za-z0-9]+)<\/Code>/.exec(xml)?.[1];
  const message = /<Message>([^<]*)<\/Message>/.exec(xml)?.[1] ?? "";
  if (code === undefined)
    return { code: "InternalError", message: "The object store failed.", status: status >= 500 ? status : 500 };
  return { code, status, message: message.replace(/&(lt|gt|amp|quot|apos|#34|#39);/g, " ") };
}
