/**
 * How Pulumi puts values that JSON does not have into a protobuf Struct: marked objects for secrets, assets and archives,
 * and reserved strings for values that are not known before an update has run.
 * Source: sdk/go/common/resource/sig and sdk/go/common/resource/plugin/rpc.go of Pulumi 3.259.
 */

/** A bag of properties as it travels between engine and plugin. */
export type Properties = Record<string, unknown>;

const signatureKey = "4dabf18193072939515e22adb298388d";
const secretSignature = "1b47061264138c4ac30d75fd1eb44270";
const assetSignature = "c44067f5952c0a294b673a41bacd8c17";
const archiveSignature = "0def7320c3a5731c473e5ecbe6d01bc7";

/** Stands for a value that is not known yet, whatever its type. */
export const unknown = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

const unknownMarks = new Set([
  unknown,
  "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7", // boolean
  "3eeb2bf0-c639-47a8-9e75-3b44932eb421", // number
  "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2", // array
  "030794c1-ac77-496b-92df-f27374a8bd58", // asset
  "e48ece36-62e2-4504-bad9-02848725956a", // archive
  "dd056dcd-154b-4c76-9bd3-c8f88648b5ff", // object
]);

/** `true` for an object that is not an array; its keys may be read. */
export function isObject(value: unknown): value is Properties {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `true` when the value itself is not known yet. */
export function isUnknown(value: unknown): boolean {
  return typeof value === "string" && unknownMarks.has(value);
}

/** `true` when the value or anything inside it is not known yet. */
export function hasUnknown(value: unknown): boolean {
  return some(value, isUnknown);
}

/** `true` when the value is marked secret; its plain form is under `value`. */
export function isSecret(value: unknown): value is { readonly value: unknown } {
  return isObject(value) && value[signatureKey] === secretSignature;
}

/** `true` when the value or anything inside it is marked secret. */
export function hasSecret(value: unknown): boolean {
  return some(value, isSecret);
}

/** Marks a value secret; one that already is stays as it is. */
export function secret(value: unknown): unknown {
  return isSecret(value) ? value : { [signatureKey]: secretSignature, value };
}

/** The value without any mark of secrecy, at every depth. */
export function reveal(value: unknown): unknown {
  if (isSecret(value)) {
    return reveal(value.value);
  }
  if (Array.isArray(value)) {
    return value.map(reveal);
  }
  return isObject(value) ? mapValues(value, reveal) : value;
}

/** Like `reveal`, for a bag of properties. */
export function revealAll(properties: Properties): Properties {
  return mapValues(properties, reveal);
}

/** An asset: a file's path, a text or an address; `hash` is the SHA-256 of its content when the engine knows it. */
export interface Asset {
  readonly path?: string;
  readonly text?: string;
  readonly uri?: string;
  readonly hash?: string;
}

/** An archive: a path of a file or folder, an address, or named assets. */
export interface Archive {
  readonly path?: string;
  readonly uri?: string;
  readonly assets?: Properties;
  readonly hash?: string;
}

/** The asset that a value holds, or `undefined` when it holds none. */
export function asAsset(value: unknown): Asset | undefined {
  return isObject(value) && value[signatureKey] === assetSignature ? (value as Asset) : undefined;
}

/** The archive that a value holds, or `undefined` when it holds none. */
export function asArchive(value: unknown): Archive | undefined {
  return isObject(value) && value[signatureKey] === archiveSignature ? (value as Archive) : undefined;
}

/** Marks an asset for the wire. */
export function assetValue(asset: Asset): Properties {
  return { [signatureKey]: assetSignature, ...asset };
}

/** Marks an archive for the wire. */
export function archiveValue(archive: Archive): Properties {
  return { [signatureKey]: archiveSignature, ...archive };
}

/** The same keys with each value run through `change`. */
export function mapValues(properties: Properties, change: (value: unknown) => unknown): Properties {
  return Object.fromEntries(Object.entries(properties).map(([key, value]) => [key, change(value)]));
}

function some(value: unknown, test: (value: unknown) => boolean): boolean {
  if (test(value)) {
    return true;
  }
  if (Array.isArray(value)) {
    return value.some((item) => some(item, test));
  }
  return isObject(value) && Object.values(value).some((item) => some(item, test));
}
