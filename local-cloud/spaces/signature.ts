import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { S3Error } from "./s3-error.ts";

/** What of a request a signature covers. */
export interface SignableRequest {
  readonly method: string;
  /** Decoded path with its leading slash. */
  readonly path: string;
  /** Decoded query parameters in the order of the request. */
  readonly query: readonly (readonly [name: string, value: string])[];
  /** Headers by lower-case name, values as on the wire (latin1). */
  readonly headers: ReadonlyMap<string, string>;
}

/** A Signature Version 4 as found in a request, not yet verified. */
export interface FoundSignature {
  readonly accessKey: string;
  /** `YYYYMMDD` of the credential scope. */
  readonly day: string;
  readonly region: string;
  /** `YYYYMMDDTHHMMSSZ`. */
  readonly time: string;
  readonly signedHeaders: readonly string[];
  /** 64 hex digits. */
  readonly signature: string;
  /** Seconds for which a presigned URL holds; `undefined` for a signature in the Authorization header. */
  readonly expires?: number;
}

/** Hash of the payload that stands for "not signed". */
export const unsignedPayload = "UNSIGNED-PAYLOAD";
export const emptyHash = sha256("");
const algorithm = "AWS4-HMAC-SHA256";
const maxSkewMs = 15 * 60_000;
const maxExpires = 604_800;
const scope = /^([^/\s]{1,128})\/(\d{8})\/([a-z0-9-]{1,32})\/s3\/aws4_request$/;
const authorization =
  /^AWS4-HMAC-SHA256\s+Credential=([^,\s]+)\s*,\s*SignedHeaders=([a-z0-9;_-]+)\s*,\s*Signature=([0-9a-f]{64})$/;

/** SHA-256 of `data` in hex; strings are taken as latin1, that is byte for byte as they were on the wire. */
export function sha256(data: string | Uint8Array): string {
  const hash = createHash("sha256");
  return (typeof data === "string" ? hash.update(data, "latin1") : hash.update(data)).digest("hex");
}

/** Percent-encodes as Signature Version 4 wants it: all but A-Z a-z 0-9 - . _ ~. */
export function uriEncode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** Encodes a path, leaving its slashes. */
export function encodePath(path: string): string {
  return path.split("/").map(uriEncode).join("/");
}

/** Encodes query parameters sorted as Signature Version 4 wants them. */
export function encodeQuery(query: SignableRequest["query"]): string {
  const pairs = query.map(([name, value]) => [uriEncode(name), uriEncode(value)] as const);
  pairs.sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

/**
 * Finds the signature of a request, in its Authorization header or (a presigned URL) in its query.
 * @returns `undefined` for an anonymous request.
 * @throws S3Error when there is something of a signature but not a whole one.
 */
export function findSignature(request: SignableRequest): FoundSignature | undefined {
  const header = request.headers.get("authorization");
  const parameters = new Map(request.query.filter(([name]) => name.startsWith("X-Amz-")));
  const presigned = parameters.has("X-Amz-Algorithm") || parameters.has("X-Amz-Signature");
  const old = request.query.some(([name]) => name === "AWSAccessKeyId");
  if (header === undefined && !presigned && !old) return undefined;
  if (old || header?.startsWith("AWS ")) {
    throw new S3Error("InvalidRequest", "Signature version 2 is not supported here. Please use AWS4-HMAC-SHA256.");
  }
  if (header !== undefined && presigned) {
    throw new S3Error("InvalidArgument", "Only one auth mechanism allowed: a header or query parameters.");
  }
  return header === undefined ? fromQuery(request, parameters) : fromHeader(request, header);
}

/**
 * Verifies `found` with the key's secret. Expiry and clock are checked first, so that an old request is told what is wrong with it.
 * Every `x-amz-*` header and `host` must be signed.
 * @param now milliseconds since 1970.
 * @throws S3Error SignatureDoesNotMatch, RequestTimeTooSkewed or AccessDenied
 */
export function verifySignature(request: SignableRequest, found: FoundSignature, secretKey: string, now: number): void {
  checkTime(found, now);
  const unsigned = [...request.headers.keys()].filter(
    (name) => (name === "host" || name.startsWith("x-amz-")) && !found.signedHeaders.includes(name),
  );
  if (unsigned.length > 0) {
    throw new S3Error(
      "AccessDenied",
      `There were headers present in the request which were not signed: ${unsigned.join(", ")}`,
    );
  }
  const query = request.query.filter(([name]) => name !== "X-Amz-Signature");
  const hash =
    found.expires === undefined ? (request.headers.get("x-amz-content-sha256") ?? emptyHash) : presignedHash(request);
  const expected = sign({ ...request, query }, { ...found, hash, key: signingKey(secretKey, found) });
  if (!timingSafeEqual(Buffer.from(expected), Buffer.from(found.signature))) throw new S3Error("SignatureDoesNotMatch");
}

/** The key that signs requests (and chunks) of one day and region. */
export function signingKey(secretKey: string, on: { readonly day: string; readonly region: string }): Buffer {
  return [on.day, on.region, "s3", "aws4_request"].reduce<Buffer>(
    (key, part) => hmac(key, part),
    Buffer.from(`AWS4${secretKey}`, "utf8"),
  );
}

/** The headers that sign a request to the object store; `headers` must hold `host` and all else that is sent but `content-length`. */
export function signedHeaders(
  request: SignableRequest,
  key: { readonly accessKey: string; readonly secretKey: string; readonly region: string },
  hash: string,
  now: number,
): Map<string, string> {
  const time = new Date(now).toISOString().replace(/[-:]|\.\d{3}/g, "");
  const on = { day: time.slice(0, 8), region: key.region };
  const headers = new Map([...request.headers, ["x-amz-date", time], ["x-amz-content-sha256", hash]]);
  const names = [...headers.keys()].sort(compare);
  const signature = sign(
    { ...request, headers },
    { ...on, time, hash, signedHeaders: names, key: signingKey(key.secretKey, on) },
  );
  const credential = `${key.accessKey}/${on.day}/${on.region}/s3/aws4_request`;
  headers.set(
    "authorization",
    `${algorithm} Credential=${credential}, SignedHeaders=${names.join(";")}, Signature=${signature}`,
  );
  return headers;
}

/** HMAC-SHA256 of `data`, taken as latin1. */
export function hmac(key: Uint8Array, data: string): Buffer {
  return createHmac("sha256", key).update(data, "latin1").digest();
}

interface Signing {
  readonly day: string;
  readonly region: string;
  readonly time: string;
  readonly hash: string;
  readonly signedHeaders: readonly string[];
  readonly key: Buffer;
}

function sign(request: SignableRequest, signing: Signing): string {
  const headers = signing.signedHeaders.map((name) => {
    const value = request.headers.get(name);
    if (value === undefined) throw new S3Error("SignatureDoesNotMatch", `The signed header "${name}" is missing.`);
    return `${name}:${value.trim().replace(/ {2,}/g, " ")}\n`;
  });
  const canonical = [
    request.method,
    encodePath(request.path),
    encodeQuery(request.query),
    headers.join(""),
    signing.signedHeaders.join(";"),
    signing.hash,
  ].join("\n");
  const text = [algorithm, signing.time, `${signing.day}/${signing.region}/s3/aws4_request`, sha256(canonical)].join(
    "\n",
  );
  return hmac(signing.key, text).toString("hex");
}

function fromHeader(request: SignableRequest, header: string): FoundSignature {
  const [, credential = "", names = "", signature = ""] = authorization.exec(header) ?? [];
  const [, accessKey, day, region] = scope.exec(credential) ?? [];
  const time = request.headers.get("x-amz-date") ?? timeOfDate(request.headers.get("date"));
  if (accessKey === undefined || day === undefined || region === undefined || time === undefined) {
    throw new S3Error("AuthorizationHeaderMalformed");
  }
  return { accessKey, day, region, time, signature, signedHeaders: names.split(";") };
}

function fromQuery(request: SignableRequest, parameters: ReadonlyMap<string, string>): FoundSignature {
  const [, accessKey, day, region] = scope.exec(parameters.get("X-Amz-Credential") ?? "") ?? [];
  const time = parameters.get("X-Amz-Date");
  const signature = parameters.get("X-Amz-Signature") ?? "";
  const expires = Number(/^\d{1,6}$/.exec(parameters.get("X-Amz-Expires") ?? "")?.[0] ?? Number.NaN);
  const names = parameters.get("X-Amz-SignedHeaders") ?? "";
  const twice = request.query.filter(([name]) => name.startsWith("X-Amz-")).length !== parameters.size;
  const whole = accessKey !== undefined && day !== undefined && region !== undefined && time !== undefined && !twice;
  const sound = parameters.get("X-Amz-Algorithm") === algorithm && /^[0-9a-f]{64}$/.test(signature) && names !== "";
  if (!whole || !sound || !(expires >= 1 && expires <= maxExpires)) {
    throw new S3Error("AuthorizationQueryParametersError");
  }
  return { accessKey, day, region, time, signature, expires, signedHeaders: names.split(";") };
}

/** Clients may put the payload's hash into a presigned URL; without one it is unsigned. */
function presignedHash(request: SignableRequest): string {
  const inQuery = request.query.find(([name]) => name.toLowerCase() === "x-amz-content-sha256")?.[1];
  return inQuery ?? request.headers.get("x-amz-content-sha256") ?? unsignedPayload;
}

function checkTime(found: FoundSignature, now: number): void {
  const signed = parseTime(found.time);
  if (signed === undefined || found.time.slice(0, 8) !== found.day) throw new S3Error("AuthorizationHeaderMalformed");
  if (found.expires === undefined) {
    if (Math.abs(now - signed) > maxSkewMs) throw new S3Error("RequestTimeTooSkewed");
    return;
  }
  if (signed - now > maxSkewMs) throw new S3Error("AccessDenied", "Request is not yet valid.");
  if (now > signed + found.expires * 1000) throw new S3Error("AccessDenied", "Request has expired.");
}

function parseTime(time: string): number | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(time);
  if (parts === null) return undefined;
  const [, year, month, day, hour, minute, second] = parts;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(ms) ? undefined : ms;
}

function timeOfDate(date: string | undefined): string | undefined {
  const ms = Date.parse(date ?? "");
  return Number.isNaN(ms) ? undefined : new Date(ms).toISOString().replace(/[-:]|\.\d{3}/g, "");
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
