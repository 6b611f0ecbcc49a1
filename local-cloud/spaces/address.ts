import { isIPv4 } from "node:net";
import { S3Error } from "./s3-error.ts";

/** Where a request goes. */
export interface Address {
  readonly region: string;
  /** `undefined` for the list of buckets. */
  readonly bucket?: string;
  /** Decoded, without leading slash; `undefined` for the bucket itself. */
  readonly key?: string;
}

/** The object store keeps parts of uploads in a folder of this name inside each bucket. */
const hiddenSegment = ".sgwtmp";
const maxKeyBytes = 1024;

/**
 * Reads region and bucket out of a host name: `<region>.<suffix>` or `<bucket>.<region>.<suffix>`, with or without a port.
 * @returns `undefined` for any other host.
 */
export function parseHost(host: string, suffix: string, regions: readonly string[]): Omit<Address, "key"> | undefined {
  const name = host.toLowerCase().replace(/:\d{1,5}$/, "");
  if (!name.endsWith(`.${suffix}`)) return undefined;
  const labels = name.slice(0, -suffix.length - 1).split(".");
  const region = labels.pop() ?? "";
  if (!regions.includes(region)) return undefined;
  return labels.length === 0 ? { region } : { region, bucket: labels.join(".") };
}

/**
 * The address of a request from its host and raw path, in both styles.
 * @throws S3Error when the path cannot be decoded, or names anything outside its bucket.
 */
export function parseAddress(host: Omit<Address, "key">, rawPath: string): Address {
  const path = decodePath(rawPath).slice(1);
  const [bucket, key] = host.bucket === undefined ? split(path) : [host.bucket, path];
  if (bucket === "" && key === "") return { region: host.region };
  checkBucketName(bucket);
  if (key === "") return { region: host.region, bucket };
  checkKey(key);
  return { region: host.region, bucket, key };
}

/** Decodes a path once. @throws S3Error InvalidURI */
export function decodePath(rawPath: string): string {
  try {
    return decodeURIComponent(rawPath);
  } catch {
    throw new S3Error("InvalidURI");
  }
}

/** @throws S3Error InvalidBucketName unless `name` is one that Spaces takes. */
export function checkBucketName(name: string): void {
  const valid = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) && !name.includes("..") && !isIPv4(name);
  if (!valid) throw new S3Error("InvalidBucketName");
}

/**
 * Refuses keys that a store on a file system could take for another place: `.`, `..` and empty segments (but for one slash at the
 * end, which clients use for folders), NUL, and the store's own folder.
 * @throws S3Error
 */
export function checkKey(key: string): void {
  if (Buffer.byteLength(key) > maxKeyBytes) throw new S3Error("KeyTooLongError");
  const segments = (key.endsWith("/") ? key.slice(0, -1) : key).split("/");
  const forbidden = (segment: string) => segment === "" || segment === "." || segment === "..";
  if (key.includes("\0") || segments.some(forbidden) || segments[0] === hiddenSegment) {
    throw new S3Error("InvalidArgument", "A key must not have empty, '.' or '..' segments, nor begin with '.sgwtmp/'.");
  }
}

/** Refuses prefixes and markers that would lead a listing out of its bucket. @throws S3Error InvalidArgument */
export function checkPrefix(prefix: string): void {
  const segments = prefix.split("/");
  const last = segments.pop() ?? "";
  const forbidden = (segment: string) => segment === "" || segment === "." || segment === "..";
  if (
    prefix.includes("\0") ||
    segments.some(forbidden) ||
    last === "." ||
    last === ".." ||
    prefix.startsWith(hiddenSegment)
  ) {
    throw new S3Error("InvalidArgument", "A prefix or marker must not have empty, '.' or '..' segments.");
  }
}

/**
 * Reads `x-amz-copy-source`: `[/]bucket/key[?versionId=V]`, percent-encoded.
 * @throws S3Error
 */
export function parseCopySource(header: string): { bucket: string; key: string; versionId?: string } {
  const [, path = "", versionId] = /^([^?]*)(?:\?versionId=([^&]*))?$/.exec(header) ?? [];
  const [bucket, key] = split(decodePath(path).replace(/^\//, ""));
  if (key === "") throw new S3Error("InvalidArgument", "The copy source must mention a bucket and a key.");
  checkBucketName(bucket);
  checkKey(key);
  if (versionId === undefined) return { bucket, key };
  checkId(versionId, "versionId");
  return { bucket, key, versionId };
}

/** Ids of versions and uploads end in paths of the store: letters, digits and dashes only. @throws S3Error InvalidArgument */
export function checkId(value: string, parameter: string): void {
  if (!/^[A-Za-z0-9-]{1,64}$/.test(value)) throw new S3Error("InvalidArgument", `Invalid ${parameter}.`);
}

function split(path: string): [string, string] {
  const slash = path.indexOf("/");
  return slash === -1 ? [path, ""] : [path.slice(0, slash), path.slice(slash + 1)];
}
