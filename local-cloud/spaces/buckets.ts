import { createHash, randomUUID } from "node:crypto";
import {
  aclXml,
  answerEmpty,
  answerUpstream,
  answerXml,
  bucketsXml,
  type Context,
  namespace,
  wantedAcl,
} from "./context.ts";
import { S3Error } from "./s3-error.ts";
import type { BucketRecord } from "./store.ts";
import { readAll, sendUpstream } from "./upstream.ts";
import { childText, parseXml, writeXml, type XmlElement } from "./xml.ts";

const maxBuckets = 100;
const maxRules = 1000;

type BucketContext = Context & { readonly bucket: string };

/** `GET /`: the buckets of the endpoint's region. */
export function listBuckets(context: Context): void {
  const buckets = context.store.buckets().filter((bucket) => bucket.region === context.region);
  answerXml(context, 200, bucketsXml(buckets));
}

/** `PUT /`. Names are shared by all regions. */
export async function createBucket(context: BucketContext): Promise<void> {
  const { bucket, store, region } = context;
  const acl = wantedAcl(context.headers) ?? "private";
  const body = await context.smallBody();
  if (body.length > 0) {
    const location = childText(parseXml(body.toString("utf8")), "LocationConstraint") ?? "";
    if (!["", "us-east-1", region].includes(location)) throw new S3Error("IllegalLocationConstraintException");
  }
  if (store.bucket(bucket) !== undefined) throw new S3Error("BucketAlreadyExists");
  if (store.buckets().length >= maxBuckets) throw new S3Error("TooManyBuckets");
  const answer = await sendUpstream(context.upstream, { method: "PUT", bucket });
  const text = await readAll(answer);
  // Left behind by a creation that was killed here: nobody was told of it, and it is empty.
  const leftBehind = text.includes("<Code>BucketAlreadyOwnedByYou</Code>");
  if (answer.statusCode !== 200 && !leftBehind) return answerUpstream(context, answer, text);
  if (store.bucket(bucket) !== undefined) throw new S3Error("BucketAlreadyExists");
  store.addBucket(bucket, region, acl);
  answerEmpty(context, 200, { location: `/${bucket}` });
}

/** `DELETE /`: only an empty one; what Spaces knew of it goes too. */
export async function deleteBucket(context: BucketContext): Promise<void> {
  const { bucket } = context;
  const answer = await sendUpstream(context.upstream, { method: "DELETE", bucket });
  if (answer.statusCode === 204) context.store.removeBucket(bucket);
  await answerUpstream(context, answer);
}

/** That the bucket is there, and its region. */
export function headBucket(context: BucketContext): void {
  answerEmpty(context, 200, { "x-amz-bucket-region": context.region });
}

/** The bucket's region. */
export function getBucketLocation(context: BucketContext): void {
  answerXml(context, 200, `<LocationConstraint xmlns="${namespace}">${context.region}</LocationConstraint>`);
}

/** The bucket's grants: the owner's, and everybody's if it is `public-read`. */
export function getBucketAcl(context: BucketContext): void {
  answerXml(context, 200, aclXml(record(context).acl));
}

/** Sets a canned ACL. @throws S3Error NotImplemented for an ACL in the body */
export async function putBucketAcl(context: BucketContext): Promise<void> {
  await context.smallBody();
  const acl = wantedAcl(context.headers);
  if (acl === undefined)
    throw new S3Error("NotImplemented", "Set ACLs by the header x-amz-acl: private or public-read.");
  context.store.set(context.bucket, { acl });
  answerEmpty(context, 200);
}

/** The lifecycle rules as they were put. @throws S3Error NoSuchLifecycleConfiguration when there are none */
export function getBucketLifecycle(context: BucketContext): void {
  const { lifecycle } = record(context);
  if (lifecycle === null) throw new S3Error("NoSuchLifecycleConfiguration");
  answerXml(context, 200, lifecycle);
}

/** Kept and told again, but not carried out: nothing expires here. */
export async function putBucketLifecycle(context: BucketContext): Promise<void> {
  const sent = parseXml((await context.smallBody()).toString("utf8"));
  const rules = sent.children.filter((child) => child.name === "Rule").map(checkedRule);
  if (sent.name !== "LifecycleConfiguration" || rules.length === 0 || rules.length > maxRules)
    throw new S3Error("MalformedXML");
  if (new Set(rules.map((rule) => childText(rule, "ID"))).size !== rules.length) {
    throw new S3Error("InvalidArgument", "Rule ID must be unique.");
  }
  context.store.set(context.bucket, { lifecycle: writeXml({ name: sent.name, text: "", children: rules }, namespace) });
  answerEmpty(context, 200);
}

/** Forgets the lifecycle rules; fine when there are none. */
export function deleteBucketLifecycle(context: BucketContext): void {
  context.store.set(context.bucket, { lifecycle: null });
  answerEmpty(context, 204);
}

/** The logging configuration as it was put; an empty one when there is none. */
export function getBucketLogging(context: BucketContext): void {
  answerXml(context, 200, record(context).logging ?? `<BucketLoggingStatus xmlns="${namespace}"/>`);
}

/** Kept and told again, but not carried out: no log is written. */
export async function putBucketLogging(context: BucketContext): Promise<void> {
  const sent = parseXml((await context.smallBody()).toString("utf8"));
  if (sent.name !== "BucketLoggingStatus") throw new S3Error("MalformedXML");
  const enabled = sent.children.find((child) => child.name === "LoggingEnabled");
  const target = enabled === undefined ? undefined : childText(enabled, "TargetBucket");
  if (enabled !== undefined && (target === context.bucket || context.store.bucket(target ?? "") === undefined)) {
    throw new S3Error("InvalidArgument", "The target bucket of logs must exist and be another one.");
  }
  context.store.set(context.bucket, { logging: enabled === undefined ? null : writeXml(sent, namespace) });
  answerEmpty(context, 200);
}

/** CORS, versioning and policy: the object store has them. */
export async function passConfiguration(context: BucketContext): Promise<void> {
  const { bucket, method, passedQuery: query, store } = context;
  const body = method === "PUT" ? await context.smallBody() : Buffer.alloc(0);
  const md5 = createHash("md5").update(body).digest("base64");
  const headers = method === "PUT" ? new Map([["content-md5", md5]]) : new Map<string, string>();
  // An anonymous request must not be let in by a policy that is only half in place, nor kept out by one that is half gone: the store
  // decides, this only says that it is to be asked.
  if (context.operation.name === "PutBucketPolicy") store.set(bucket, { policy: 1 });
  if (context.operation.name === "PutBucketVersioning") store.set(bucket, { versioned: 1 });
  const answer = await sendUpstream(context.upstream, { method, bucket, query, headers, body });
  if (context.operation.name === "DeleteBucketPolicy" && answer.statusCode === 204) store.set(bucket, { policy: 0 });
  await answerUpstream(context, answer);
}

/** The lists of objects, versions and uploads. */
export async function passListing(context: BucketContext): Promise<void> {
  const { bucket, passedHeaders: headers, passedQuery: query, signal } = context;
  await answerUpstream(
    context,
    await sendUpstream(context.upstream, { method: "GET", bucket, headers, query, signal }),
  );
}

function record(context: BucketContext): BucketRecord {
  const found = context.store.bucket(context.bucket);
  if (found === undefined) throw new S3Error("NoSuchBucket");
  return found;
}

function checkedRule(rule: XmlElement): XmlElement {
  const status = childText(rule, "Status");
  if (status !== "Enabled" && status !== "Disabled") throw new S3Error("MalformedXML");
  const id = childText(rule, "ID");
  if (id !== undefined && id !== "") return rule;
  const rest = rule.children.filter((child) => child.name !== "ID");
  return { ...rule, children: [{ name: "ID", text: randomUUID(), children: [] }, ...rest] };
}
