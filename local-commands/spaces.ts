import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { Agent } from "node:http";
import { createRequire } from "node:module";
import type { Readable } from "node:stream";
import type { ObjectCannedACL, S3Client } from "@aws-sdk/client-s3";
import pLimit from "p-limit";
import pRetry from "p-retry";
import type { SpacesAccess } from "../lib/upload.ts";
import { UserError } from "../lib/user-error.ts";

// Not by `import`, for which Node would first look through all their source for what they export: half of the time that they take.
const require = createRequire(import.meta.url);
const S3 = require("@aws-sdk/client-s3") as typeof import("@aws-sdk/client-s3");
const { lookup } = require("mime-types") as typeof import("mime-types");

/** Where a bucket is and the key that opens it. */
export interface SpacesTarget extends SpacesAccess {
  readonly bucket: string;
}

/** What an object is to be: a file of the laptop, a text, or bytes. */
export type StoredObject = {
  readonly key: string;
  readonly acl: "private" | "public-read";
  readonly cacheControl?: string;
} & ({ readonly path: string } | { readonly text: string | Buffer });

const parallel = 8;

/** The client warns that it cannot send a stream again; `putObject` can. */
const nothing = () => {};
const silence = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };

/**
 * An S3 client for a bucket. `HTTP_PROXY` counts for plain-http endpoints: only the local cloud has one, under a name that
 * nothing but its proxy knows.
 */
export function openSpaces(target: SpacesAccess, environment: NodeJS.ProcessEnv = process.env): S3Client {
  const proxy = target.endpoint.startsWith("http:") ? environment.HTTP_PROXY : undefined;
  const agents = proxy === undefined ? {} : { requestHandler: { httpAgent: agentFor(proxy) } };
  return new S3.S3Client({
    endpoint: target.endpoint,
    region: target.region,
    credentials: { accessKeyId: target.accessKey, secretAccessKey: target.secretKey },
    // Spaces refuses the checksums that newer clients add by themselves.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    // With it the request's head leaves before the proxy's agent could rewrite it.
    expectContinueHeader: false,
    maxAttempts: 4,
    logger: silence,
    ...agents,
  });
}

function agentFor(proxy: string): Agent {
  const { HttpProxyAgent } = require("http-proxy-agent") as typeof import("http-proxy-agent");
  return new HttpProxyAgent(proxy, { keepAlive: true, maxSockets: parallel });
}

/**
 * Puts files that are not there yet with the same content.
 * @param last put after all others, as the sign that they are there
 * @returns how many were sent
 */
export async function putObjects(
  client: S3Client,
  bucket: string,
  objects: readonly StoredObject[],
  last: readonly StoredObject[] = [],
): Promise<number> {
  const limit = pLimit(parallel);
  const find = (all: readonly StoredObject[]) => all.map((object) => limit(() => missing(client, bucket, object)));
  // Asked for all at once: each answer takes a while.
  const [found, foundLast] = await Promise.all([find(objects), find(last)].map((asked) => Promise.all(asked)));
  const put = (all: readonly (Missing | undefined)[] = []) =>
    Promise.all(all.map((each) => each && limit(() => putObject(client, bucket, each))));
  await put(found);
  await put(foundLast);
  return [...(found ?? []), ...(foundLast ?? [])].filter(Boolean).length;
}

/**
 * Opens the connection to a bucket that is written to soon, and has all the client's code at work once: the first request takes several times
 * as long as the next. What it says does not count.
 */
export async function greetBucket(client: S3Client, bucket: string): Promise<void> {
  await client.send(new S3.HeadBucketCommand({ Bucket: bucket })).catch(() => undefined);
}

/** A small object that was read whole. */
export interface Content {
  readonly content: Buffer;
  /** When it was put. */
  readonly when: Date;
}

const mostBytes = 1024 * 1024;

/**
 * Reads a small object.
 * @returns `undefined` when there is none
 * @throws UserError when it has more than 1 MiB
 */
export async function getContent(client: S3Client, bucket: string, key: string): Promise<Content | undefined> {
  try {
    const answer = await client.send(
      new S3.GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=0-${mostBytes}` }),
    );
    const content = Buffer.from((await answer.Body?.transformToByteArray()) ?? []);
    if (content.length > mostBytes) throw new UserError(`${key} in ${bucket} has more than ${mostBytes} bytes.`);
    return { content, when: answer.LastModified ?? new Date(0) };
  } catch (error) {
    if (error instanceof S3.S3ServiceException && error.$metadata.httpStatusCode === 404) return undefined;
    throw error instanceof UserError ? error : explain(error, `Reading ${key} in ${bucket}`);
  }
}

/** Says what was refused: the client's own message for an answer without a body is "UnknownError". */
function explain(error: unknown, what: string): Error {
  if (!(error instanceof S3.S3ServiceException)) return new UserError(`${what} failed: ${(error as Error).message}`);
  return new UserError(
    `${what} failed: Spaces answered ${error.$metadata.httpStatusCode} ${error.name}: ${error.message}`,
  );
}

/** An object that is not there yet, and its content. */
interface Missing {
  readonly object: StoredObject;
  readonly content: Awaited<ReturnType<typeof contentOf>>;
}

async function missing(client: S3Client, bucket: string, object: StoredObject): Promise<Missing | undefined> {
  const content = await contentOf(object);
  const isPut = await isThere(client, bucket, object.key, content.md5.toString("hex"), content.size);
  return isPut ? undefined : { object, content };
}

async function putObject(client: S3Client, bucket: string, { object, content }: Missing): Promise<void> {
  const { md5, size, open } = content;
  await pRetry(
    async () => {
      await client.send(
        new S3.PutObjectCommand({
          Bucket: bucket,
          Key: object.key,
          // A new stream for each try: a retry cannot read a spent one again.
          Body: open(),
          ContentLength: size,
          ContentMD5: md5.toString("base64"),
          ContentType: contentType(object.key),
          ACL: object.acl as ObjectCannedACL,
          ...(object.cacheControl === undefined ? {} : { CacheControl: object.cacheControl }),
        }),
      );
    },
    { retries: 4, minTimeout: 500, shouldRetry: ({ error }) => isTransient(error) },
  ).catch((error: unknown) => {
    throw explain(error, `Putting ${object.key} into ${bucket}`);
  });
}

async function isThere(client: S3Client, bucket: string, key: string, md5: string, size: number): Promise<boolean> {
  try {
    const head = await client.send(new S3.HeadObjectCommand({ Bucket: bucket, Key: key }));
    return head.ContentLength === size && head.ETag === `"${md5}"`;
  } catch (error) {
    if (error instanceof S3.S3ServiceException && error.$metadata.httpStatusCode === 404) return false;
    throw explain(error, `Asking for ${key} in ${bucket}`);
  }
}

/** Removes every object whose key starts with one of the prefixes. One that is gone already is no error, nor is a missing bucket. */
export async function removeObjects(client: S3Client, bucket: string, prefixes: readonly string[]): Promise<number> {
  const limit = pLimit(parallel);
  let removed = 0;
  for (const prefix of prefixes) {
    for (;;) {
      const keys = await listKeys(client, bucket, prefix);
      if (keys.length === 0) break;
      // One by one: deleting many at once needs a checksum that newer clients no longer send in the form Spaces knows.
      await Promise.all(
        keys.map((key) => limit(() => client.send(new S3.DeleteObjectCommand({ Bucket: bucket, Key: key })))),
      );
      removed += keys.length;
    }
  }
  return removed;
}

/** At most 1000 keys; listed again from the beginning after they were removed. */
async function listKeys(client: S3Client, bucket: string, prefix: string): Promise<string[]> {
  try {
    const page = await client.send(new S3.ListObjectsV2Command({ Bucket: bucket, Prefix: prefix }));
    return (page.Contents ?? []).flatMap((object) => object.Key ?? []);
  } catch (error) {
    if (error instanceof S3.S3ServiceException && error.name === "NoSuchBucket") return [];
    throw explain(error, `Listing ${prefix} in ${bucket}`);
  }
}

/** The type that a browser is told, by the key's ending; texts are UTF-8. */
export function contentType(key: string): string {
  // A tar.gz is stored, not shown: nobody should unpack it on the way.
  const type = key.endsWith(".gz") ? "application/gzip" : lookup(key) || "application/octet-stream";
  const isText =
    type.startsWith("text/") || /^application\/(javascript|json|xml)$/.test(type) || type === "image/svg+xml";
  return isText ? `${type}; charset=utf-8` : type;
}

/** An answer that never came, and one that says "later". */
function isTransient(error: unknown): boolean {
  const status = error instanceof S3.S3ServiceException ? error.$metadata.httpStatusCode : undefined;
  return status === undefined || status === 429 || status >= 500;
}

async function contentOf(object: StoredObject): Promise<{ md5: Buffer; size: number; open: () => Readable | Buffer }> {
  const hash = createHash("md5");
  if ("text" in object) {
    const bytes = typeof object.text === "string" ? Buffer.from(object.text) : object.text;
    return { md5: hash.update(bytes).digest(), size: bytes.length, open: () => bytes };
  }
  const { path } = object;
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return { md5: hash.digest(), size: (await stat(path)).size, open: () => createReadStream(path) };
}
