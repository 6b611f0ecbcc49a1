import type { IncomingMessage } from "node:http";
import { type Address, parseHost } from "./address.ts";
import { S3Error } from "./s3-error.ts";

const authenticating =
  /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|content-sha256|security-token)$/;
/** Where a request is sent. */
export type Target = { readonly host: Omit<Address, "key">; readonly path: string; readonly query: string };

/** Takes the request target apart; a string says why it is refused. */
export function readTarget(
  served: { readonly suffix: string; readonly regions: readonly string[] },
  request: IncomingMessage,
): Target | string {
  const [, scheme, authority, path = "/", query = ""] =
    /^(?:([a-z]+):\/\/([^/?#]*))?(\/[^?#]*)?(?:\?([^#]*))?/i.exec(request.url ?? "") ?? [];
  const named = request.headers.host ?? "";
  const host = authority ?? named;
  const known = parseHost(host, served.suffix, served.regions);
  if (scheme !== undefined && scheme.toLowerCase() !== "http")
    return `This proxy speaks plain HTTP only, not ${scheme}.`;
  if (known === undefined) {
    return `"${host}" is not served here: this is Spaces (and an HTTP proxy) for <region>.${served.suffix} and <bucket>.<region>.${served.suffix} only.`;
  }
  if (authority !== undefined && authority.toLowerCase() !== named.toLowerCase())
    return "The Host header does not match the request target.";
  return { host: known, path, query };
}

/** @throws S3Error InvalidURI unless the path can be decoded. */
export function checkedPath(path: string): string {
  try {
    decodeURIComponent(path);
  } catch {
    throw new S3Error("InvalidURI");
  }
  return path;
}

/** Headers by lower-case name. One that signs, routes or says how long the body is must not come twice. */
export function readHeaders(request: IncomingMessage): Map<string, string> {
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

/** The query's decoded names and values in their order; a name without `=` has the value "". @throws S3Error InvalidURI */
export function readQuery(query: string): (readonly [string, string])[] {
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
export function hoistedHeaders(query: readonly (readonly [string, string])[]): (readonly [string, string])[] {
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
