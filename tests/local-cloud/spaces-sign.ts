import { createHash, createHmac } from "node:crypto";
import type { TestKey } from "./spaces-support.ts";

/** What to sign; signs as the specification of Signature Version 4 has it, without any code of the front. */
export interface ToSign {
  readonly method?: string;
  /** Raw path and query as they are sent. */
  readonly path: string;
  readonly host?: string;
  readonly headers?: Record<string, string>;
  readonly hash?: string;
  readonly time?: Date;
  readonly region?: string;
  readonly service?: string;
  /** Names to leave out of the signature though they are sent. */
  readonly unsigned?: readonly string[];
}

export const sha256 = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");
export const emptyHash = sha256("");
const hmac = (key: Buffer | string, data: string): Buffer => createHmac("sha256", key).update(data).digest();

export function stampOf(time: Date): string {
  return time.toISOString().replace(/[-:]|\.\d+/g, "");
}

export function keyOf(key: TestKey, day: string, region = "nyc3", service = "s3"): Buffer {
  return hmac(hmac(hmac(hmac(`AWS4${key.secretKey}`, day), region), service), "aws4_request");
}

/** The headers of a request with its signature in `authorization`. */
export function signed(key: TestKey, wanted: ToSign): Record<string, string> & { authorization: string } {
  const time = stampOf(wanted.time ?? new Date());
  const hash = wanted.hash ?? emptyHash;
  const headers: Record<string, string> = {
    host: wanted.host ?? "nyc3.spaces.test",
    "x-amz-date": time,
    "x-amz-content-sha256": hash,
    ...wanted.headers,
  };
  const names = Object.keys(headers)
    .filter((name) => !wanted.unsigned?.includes(name))
    .sort();
  const { signature, scope } = signatureOf(key, wanted, headers, names, time, hash);
  const authorization = `AWS4-HMAC-SHA256 Credential=${key.accessKey}/${scope}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
  return { ...headers, authorization };
}

/** A presigned path, to be sent to `host`. */
export function presigned(key: TestKey, wanted: ToSign & { readonly expires?: number }): string {
  const time = stampOf(wanted.time ?? new Date());
  const region = wanted.region ?? "nyc3";
  const [path = "", before] = wanted.path.split("?");
  const parameters = [
    ...(before === undefined ? [] : before.split("&")),
    "X-Amz-Algorithm=AWS4-HMAC-SHA256",
    `X-Amz-Credential=${encodeURIComponent(`${key.accessKey}/${time.slice(0, 8)}/${region}/s3/aws4_request`)}`,
    `X-Amz-Date=${time}`,
    `X-Amz-Expires=${wanted.expires ?? 60}`,
    "X-Amz-SignedHeaders=host",
  ].sort();
  const target = `${path}?${parameters.join("&")}`;
  const headers = { host: wanted.host ?? "nyc3.spaces.test" };
  const { signature } = signatureOf(key, { ...wanted, path: target }, headers, ["host"], time, "UNSIGNED-PAYLOAD");
  return `${target}&X-Amz-Signature=${signature}`;
}

/** A body of signed chunks, and its trailer if `trailer` is given (`name:value`). */
export function chunkedBody(
  key: TestKey,
  headers: { readonly authorization: string } & Record<string, string>,
  chunks: readonly Buffer[],
  trailer?: string,
): Buffer {
  const time = headers["x-amz-date"] ?? "";
  const scope = `${time.slice(0, 8)}/nyc3/s3/aws4_request`;
  const signing = keyOf(key, time.slice(0, 8));
  let previous = /Signature=(\w+)/.exec(headers.authorization)?.[1] ?? "";
  const parts = [...chunks, Buffer.alloc(0)].map((chunk) => {
    const text = ["AWS4-HMAC-SHA256-PAYLOAD", time, scope, previous, emptyHash, sha256(chunk)].join("\n");
    previous = hmac(signing, text).toString("hex");
    const head = Buffer.from(`${chunk.length.toString(16)};chunk-signature=${previous}\r\n`);
    return Buffer.concat([head, chunk, Buffer.from(chunk.length === 0 && trailer !== undefined ? "" : "\r\n")]);
  });
  if (trailer === undefined) return Buffer.concat(parts);
  const text = ["AWS4-HMAC-SHA256-TRAILER", time, scope, previous, sha256(`${trailer}\n`)].join("\n");
  return Buffer.concat([
    ...parts,
    Buffer.from(`${trailer}\r\nx-amz-trailer-signature:${hmac(signing, text).toString("hex")}\r\n\r\n`),
  ]);
}

function signatureOf(
  key: TestKey,
  wanted: ToSign,
  headers: Record<string, string>,
  names: readonly string[],
  time: string,
  hash: string,
) {
  const region = wanted.region ?? "nyc3";
  const service = wanted.service ?? "s3";
  const [path = "", query = ""] = wanted.path.split("?");
  const sorted = query
    .split("&")
    .filter(Boolean)
    .map((pair) => (pair.includes("=") ? pair : `${pair}=`))
    .sort()
    .join("&");
  const lines = names.map((name) => `${name}:${headers[name]?.trim()}\n`).join("");
  const canonical = [wanted.method ?? "GET", path, sorted, lines, names.join(";"), hash].join("\n");
  const scope = `${time.slice(0, 8)}/${region}/${service}/aws4_request`;
  const text = ["AWS4-HMAC-SHA256", time, scope, sha256(canonical)].join("\n");
  return { scope, signature: hmac(keyOf(key, time.slice(0, 8), region, service), text).toString("hex") };
}
