import { createHash, randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { parseCopySource } from "./address.ts";
import {
  aclXml,
  answerEmpty,
  answerUpstream,
  answerXml,
  type Context,
  idHeader,
  namespace,
  wantedAcl,
} from "./context.ts";
import { checkListedKey, isGranted } from "./operations.ts";
import { S3Error } from "./s3-error.ts";
import { readAll, sendUpstream } from "./upstream.ts";
import { childText, escapeXml, parseXml } from "./xml.ts";

/** How often an anonymous read begins again when the object is replaced meanwhile. */
const maxReplaced = 5;

/** Headers that describe an object's content and are copied with it. */
const describing = [
  "content-type",
  "cache-control",
  "content-disposition",
  "content-encoding",
  "content-language",
  "expires",
];

type ObjectContext = Context & { readonly bucket: string; readonly key: string };

/** `PUT key`: an upload, or a copy when there is a copy source. */
export async function putObject(context: ObjectContext): Promise<void> {
  const { bucket, key, headers, store } = context;
  const acl = wantedAcl(headers) ?? "private";
  const id = randomUUID();
  const copies = headers.has("x-amz-copy-source");
  const passed = copies ? await copyHeaders(context) : new Map(context.passedHeaders);
  passed.set(idHeader, id);
  const body = copies ? {} : { body: context.streamBody() };
  const superseded = store.settled(bucket, [key]);
  store.beginWrite(bucket, key, id, acl);
  let written = true;
  try {
    const answer = await sendUpstream(context.upstream, {
      method: "PUT",
      bucket,
      key,
      headers: passed,
      signal: context.signal,
      ...body,
    });
    written = answer.statusCode === 200;
    if (written) store.forget(bucket, superseded);
    await answerUpstream(context, answer);
  } finally {
    store.endWrite(bucket, key, id, written);
  }
}

/** `POST key?uploads`: the ACL is given at the start and holds for what the upload becomes. */
export async function createUpload(context: ObjectContext): Promise<void> {
  const { bucket, key, store } = context;
  const acl = wantedAcl(context.headers) ?? "private";
  const id = randomUUID();
  const headers = new Map(context.passedHeaders).set(idHeader, id);
  await context.smallBody();
  const answer = await sendUpstream(context.upstream, {
    method: "POST",
    bucket,
    key,
    headers,
    query: context.passedQuery,
  });
  const text = await readAll(answer);
  if (answer.statusCode === 200 && acl === "public-read") {
    store.setPublic(bucket, key, id, true);
    store.setUpload(bucket, key, id, childText(parseXml(text.toString("utf8")), "UploadId") ?? null);
  }
  await answerUpstream(context, answer, text);
}

/** `PUT key?partNumber&uploadId`, as an upload or from a copy source. */
export async function uploadPart(context: ObjectContext): Promise<void> {
  const { bucket, key, headers } = context;
  if (!context.passedQuery.some(([name]) => name === "partNumber"))
    throw new S3Error("InvalidArgument", "partNumber is missing.");
  const copies = headers.has("x-amz-copy-source");
  const passed = new Map(context.passedHeaders);
  if (copies) passed.set("x-amz-copy-source", sourceHeader(readableSource(context)));
  const answer = await sendUpstream(context.upstream, {
    method: "PUT",
    bucket,
    key,
    headers: passed,
    query: context.passedQuery,
    signal: context.signal,
    ...(copies ? {} : { body: context.streamBody() }),
  });
  await answerUpstream(context, answer);
}

/** `POST key?uploadId`. */
export async function completeUpload(context: ObjectContext): Promise<void> {
  const { bucket, key, store } = context;
  const body = await context.smallBody();
  parseXml(body.toString("utf8"));
  const headers = new Map(context.passedHeaders);
  const query = context.passedQuery;
  const superseded = store.settled(bucket, [key]);
  const answer = await sendUpstream(context.upstream, { method: "POST", bucket, key, headers, query, body });
  const text = await readAll(answer);
  if (answer.statusCode === 200 && !text.includes("<Error>")) {
    store.forget(bucket, superseded);
    store.completeUpload(bucket, key, uploadOf(context));
  }
  await answerUpstream(context, answer, text);
}

/** `DELETE key?uploadId`. */
export async function abortUpload(context: ObjectContext): Promise<void> {
  const { bucket, key } = context;
  const answer = await sendUpstream(context.upstream, { method: "DELETE", bucket, key, query: context.passedQuery });
  if (answer.statusCode === 204) context.store.abortUpload(bucket, key, uploadOf(context));
  await answerUpstream(context, answer);
}

/** `DELETE key`. */
export async function deleteObject(context: ObjectContext): Promise<void> {
  const { bucket, key } = context;
  const superseded = context.store.settled(bucket, [key]);
  const headers = context.passedHeaders;
  const answer = await sendUpstream(context.upstream, {
    method: "DELETE",
    bucket,
    key,
    headers,
    query: context.passedQuery,
  });
  if (answer.statusCode === 204) context.store.forget(bucket, superseded);
  await answerUpstream(context, answer);
}

/**
 * `POST ?delete`: the list is read here and written anew, because the store itself does not check its keys. A key that is refused is
 * answered as an error of its own; the others are deleted.
 */
export async function deleteObjects(context: Context & { readonly bucket: string }): Promise<void> {
  const { bucket, store } = context;
  const list = parseXml((await context.smallBody()).toString("utf8"));
  const objects = list.children.filter((child) => child.name === "Object");
  if (list.name !== "Delete" || objects.length === 0 || objects.length > 1000) throw new S3Error("MalformedXML");
  const quiet = childText(list, "Quiet")?.trim() === "true";
  const accepted: { key: string; xml: string }[] = [];
  const refused: string[] = [];
  for (const object of objects) {
    const key = childText(object, "Key") ?? "";
    const version = childText(object, "VersionId");
    try {
      checkListedKey(key, version);
      const versionXml = version ? `<VersionId>${escapeXml(version)}</VersionId>` : "";
      accepted.push({ key, xml: `<Object><Key>${escapeXml(key)}</Key>${versionXml}</Object>` });
    } catch (error) {
      if (!(error instanceof S3Error)) throw error;
      refused.push(
        `<Error><Key>${escapeXml(key)}</Key><Code>${error.code}</Code><Message>${escapeXml(error.message)}</Message></Error>`,
      );
    }
  }
  if (accepted.length === 0) {
    answerXml(context, 200, `<DeleteResult xmlns="${namespace}">${refused.join("")}</DeleteResult>`);
    return;
  }
  const xml = `<Delete xmlns="${namespace}"><Quiet>${quiet}</Quiet>${accepted.map((object) => object.xml).join("")}</Delete>`;
  const superseded = store.settled(
    bucket,
    accepted.map((object) => object.key),
  );
  const answer = await sendUpstream(context.upstream, {
    method: "POST",
    bucket,
    query: [["delete", ""]],
    headers: new Map([
      ["content-type", "application/xml"],
      ["content-md5", md5(xml)],
    ]),
    body: Buffer.from(xml, "utf8"),
  });
  const text = (await readAll(answer, 4 << 20)).toString("utf8");
  if (answer.statusCode === 200 && !text.includes("<Error>")) store.forget(bucket, superseded);
  const merged = text.replace(/<\/DeleteResult>|<DeleteResult([^>]*)\/>/, (end, attributes?: string) =>
    end.startsWith("</")
      ? `${refused.join("")}</DeleteResult>`
      : `<DeleteResult${attributes ?? ""}>${refused.join("")}</DeleteResult>`,
  );
  await answerUpstream(context, answer, Buffer.from(merged, "utf8"));
}

/** `GET key` and `HEAD key` with a key that may read. */
export async function readObject(context: ObjectContext): Promise<void> {
  const { bucket, key, method, passedHeaders: headers, passedQuery: query, signal } = context;
  await answerUpstream(context, await sendUpstream(context.upstream, { method, bucket, key, headers, query, signal }));
}

/**
 * `GET key` and `HEAD key` of nobody in particular: only content that is public itself, or that the bucket's policy opens. Whether it is
 * is decided on the very answer that would be sent, so that a writer who replaces it in between gives nothing away.
 */
export async function readAnonymously(context: ObjectContext): Promise<void> {
  const { bucket, key, method, passedHeaders: headers, passedQuery: query, signal } = context;
  if (query.some(([name]) => name.startsWith("response-"))) {
    throw new S3Error("InvalidRequest", "Request specific response headers cannot be used for anonymous GET requests.");
  }
  if (query.some(([name]) => name === "versionId")) throw new S3Error("AccessDenied");
  let answer = await sendUpstream(context.upstream, { method, bucket, key, headers, query, signal });
  for (let tries = 0; tries < maxReplaced; tries += 1) {
    if (await isPublicAnswer(context, answer)) return answerUpstream(context, answer);
    if (!(await isReplaced(context, answer))) break;
    answer.destroy();
    answer = await sendUpstream(context.upstream, { method, bucket, key, headers, query, signal });
  }
  answer.destroy();
  const record = context.store.bucket(bucket);
  if (answer.statusCode === 404 && record?.acl === "public-read") throw new S3Error("NoSuchKey");
  if (record?.policy !== 1) throw new S3Error("AccessDenied");
  const anonymous = true;
  await answerUpstream(
    context,
    await sendUpstream(context.upstream, { method, bucket, key, headers, query, signal, anonymous }),
  );
}

/** `GET key?acl`. */
export async function getObjectAcl(context: ObjectContext): Promise<void> {
  const id = await currentId(context);
  const isPublic = context.store.isPublic(context.bucket, context.key, id);
  answerXml(context, 200, aclXml(isPublic ? "public-read" : "private"));
}

/** `PUT key?acl` with `x-amz-acl`. */
export async function putObjectAcl(context: ObjectContext): Promise<void> {
  await context.smallBody();
  const acl = wantedAcl(context.headers);
  if (acl === undefined)
    throw new S3Error("NotImplemented", "Set ACLs by the header x-amz-acl: private or public-read.");
  const id = await currentId(context);
  if (acl === "public-read") context.store.setPublic(context.bucket, context.key, id, true);
  else context.store.close(context.bucket, context.key, id);
  answerEmpty(context, 200);
}

async function isPublicAnswer(context: ObjectContext, answer: IncomingMessage): Promise<boolean> {
  const { bucket, key, store } = context;
  const id = answer.headers[idHeader];
  if (typeof id === "string") return store.isPublic(bucket, key, id);
  // These tell whether the content is the one asked for, but carry no metadata.
  if (![304, 412, 416].includes(answer.statusCode ?? 0)) return false;
  return store.isPublic(bucket, key, await currentId(context));
}

/** Whether the answer is about content that is not there any more, so that its ACL may be forgotten. */
async function isReplaced(context: ObjectContext, answer: IncomingMessage): Promise<boolean> {
  const id = answer.headers[idHeader];
  if (answer.statusCode === 404) return false;
  return id === undefined || (await currentId(context)) !== id;
}

async function currentId(context: ObjectContext): Promise<string> {
  const { bucket, key, passedQuery: query } = context;
  const head = await sendUpstream(context.upstream, {
    method: "HEAD",
    bucket,
    key,
    query: query.filter(([name]) => name === "versionId"),
  });
  head.resume();
  if (head.statusCode === 404) throw new S3Error("NoSuchKey");
  if (head.statusCode !== 200) throw new S3Error("InvalidArgument");
  return String(head.headers[idHeader] ?? "");
}

/**
 * The headers of a copy. Metadata is always given anew, with an id of its own: a copy has its own ACL.
 */
async function copyHeaders(context: ObjectContext): Promise<Map<string, string>> {
  const source = readableSource(context);
  const { headers } = context;
  const directive = headers.get("x-amz-metadata-directive") ?? "COPY";
  if (directive !== "COPY" && directive !== "REPLACE")
    throw new S3Error("InvalidArgument", "Unknown metadata directive.");
  const passed = new Map(context.passedHeaders)
    .set("x-amz-copy-source", sourceHeader(source))
    .set("x-amz-metadata-directive", "REPLACE");
  if (directive === "REPLACE") return passed;
  if (source.bucket === context.bucket && source.key === context.key && source.versionId === undefined) {
    throw new S3Error(
      "InvalidRequest",
      "This copy request is illegal because it copies an object to itself without changing anything.",
    );
  }
  const query = source.versionId === undefined ? [] : [["versionId", source.versionId] as const];
  const head = await sendUpstream(context.upstream, { method: "HEAD", bucket: source.bucket, key: source.key, query });
  head.resume();
  if (head.statusCode !== 200) throw new S3Error("NoSuchKey");
  for (const name of passed.keys())
    if (describing.includes(name) || name.startsWith("x-amz-meta-")) passed.delete(name);
  for (const [name, value] of Object.entries(head.headers)) {
    if (typeof value === "string" && (describing.includes(name) || name.startsWith("x-amz-meta-")))
      passed.set(name, value);
  }
  if (!passed.has("x-amz-copy-source-if-match") && head.headers.etag)
    passed.set("x-amz-copy-source-if-match", head.headers.etag);
  return passed;
}

function readableSource(context: ObjectContext): { bucket: string; key: string; versionId?: string } {
  const source = parseCopySource(context.headers.get("x-amz-copy-source") ?? "");
  if (!isGranted(context.grants, "read", source.bucket)) throw new S3Error("AccessDenied");
  if (context.store.bucket(source.bucket)?.region !== context.region) throw new S3Error("NoSuchBucket");
  return source;
}

function sourceHeader(source: { bucket: string; key: string; versionId?: string }): string {
  const path = `${source.bucket}/${source.key}`.split("/").map(encodeURIComponent).join("/");
  return source.versionId === undefined ? path : `${path}?versionId=${source.versionId}`;
}

function uploadOf(context: ObjectContext): string {
  return context.passedQuery.find(([name]) => name === "uploadId")?.[1] ?? "";
}

function md5(text: string): string {
  return createHash("md5").update(text, "utf8").digest("base64");
}
