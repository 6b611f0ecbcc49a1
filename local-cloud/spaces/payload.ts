import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Context } from "./context.ts";
import { S3Error } from "./s3-error.ts";
import { type FoundSignature, sha256, signingKey, unsignedPayload } from "./signature.ts";
import { SignedChunks } from "./signed-chunks.ts";
import { readAll, type UpstreamRequest } from "./upstream.ts";

/** Headers that may go on to the object store, besides `x-amz-meta-*`, `x-amz-checksum-*` and `x-amz-copy-source*`. */
const passedHeaders = new Set(
  (
    "cache-control content-disposition content-encoding content-language content-md5 content-type expires if-match if-modified-since " +
    "if-none-match if-unmodified-since origin range x-amz-metadata-directive x-amz-sdk-checksum-algorithm x-amz-trailer x-amz-decoded-content-length"
  ).split(" "),
);

const smallBodyLimit = 4 << 20;
const maxUpload = 5 * 1024 ** 3;

/** How an upload's content is framed and vouched for. */
export type PayloadKind = "plain" | "chunked-signed" | "chunked-signed-trailer" | "chunked-trailer";

/** The headers that go on to the object store, without what belongs to a framing that is taken off. */
export function choosePassed(headers: ReadonlyMap<string, string>, kind: PayloadKind): Map<string, string> {
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

/** What the readers need of the request. */
export interface Payload {
  readonly headers: ReadonlyMap<string, string>;
  readonly query: readonly (readonly [string, string])[];
  readonly found: FoundSignature | undefined;
  readonly secretKey: string | undefined;
  readonly willContinue: () => void;
}

/** The two ways to read a request's body: streamed as an upload, or whole as a configuration. Both verify it. */
export function bodyReaders(
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
