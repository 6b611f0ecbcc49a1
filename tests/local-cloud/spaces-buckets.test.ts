import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketLifecycleCommand,
  DeleteObjectCommand,
  GetBucketAclCommand,
  GetBucketLifecycleConfigurationCommand,
  GetBucketLocationCommand,
  GetBucketLoggingCommand,
  GetBucketVersioningCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketLoggingCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from "@aws-sdk/client-s3";
import { raw } from "./raw-request.ts";
import { sha256, signed } from "./spaces-sign.ts";
import { startTestSpaces, type TestSpaces } from "./spaces-support.ts";

let spaces: TestSpaces;
let full: S3Client;
before(async () => {
  spaces = await startTestSpaces();
  full = spaces.client(spaces.full);
});
after(() => spaces.stop());

test("a bucket lives in the region whose endpoint made it, and its name is taken everywhere", async () => {
  const amsterdam = spaces.client(spaces.full, { region: "ams3" });
  await full.send(new CreateBucketCommand({ Bucket: "here" }));
  await amsterdam.send(
    new CreateBucketCommand({ Bucket: "there", CreateBucketConfiguration: { LocationConstraint: "ams3" as never } }),
  );
  assert.equal((await amsterdam.send(new GetBucketLocationCommand({ Bucket: "there" }))).LocationConstraint, "ams3");
  assert.deepEqual(await names(full), ["here"]);
  assert.deepEqual(await names(amsterdam), ["there"]);
  await assert.rejects(full.send(new HeadBucketCommand({ Bucket: "there" })), { name: "NotFound" });
  await assert.rejects(full.send(new PutObjectCommand({ Bucket: "there", Key: "k", Body: "x" })), {
    name: "NoSuchBucket",
  });
  await assert.rejects(amsterdam.send(new CreateBucketCommand({ Bucket: "here" })), { name: "BucketAlreadyExists" });
  const elsewhere = { Bucket: "third", CreateBucketConfiguration: { LocationConstraint: "ams3" as never } };
  await assert.rejects(full.send(new CreateBucketCommand(elsewhere)), { name: "IllegalLocationConstraintException" });
  await amsterdam.send(new DeleteBucketCommand({ Bucket: "there" }));
});

test("both address styles reach the same bucket", async () => {
  const byPath = spaces.client(spaces.full, { pathStyle: true });
  await byPath.send(new CreateBucketCommand({ Bucket: "styles" }));
  await byPath.send(new PutObjectCommand({ Bucket: "styles", Key: "k", Body: "x" }));
  assert.equal((await full.send(new HeadObjectCommand({ Bucket: "styles", Key: "k" }))).ContentLength, 1);
});

test("one of several creations at once succeeds", async () => {
  const all = await Promise.allSettled(
    Array.from({ length: 8 }, () => full.send(new CreateBucketCommand({ Bucket: "wanted" }))),
  );
  assert.equal(all.filter((one) => one.status === "fulfilled").length, 1);
  for (const one of all) if (one.status === "rejected") assert.equal(one.reason.name, "BucketAlreadyExists");
});

test("a deleted bucket takes its data, its settings and its objects' ACLs with it", async () => {
  const Bucket = "short-lived";
  const Rules = [{ ID: "a", Status: "Enabled", Filter: { Prefix: "" }, Expiration: { Days: 1 } }] as const;
  await full.send(new CreateBucketCommand({ Bucket, ACL: "public-read" }));
  await full.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } }));
  await full.send(
    new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [...Rules] } }),
  );
  const { VersionId } = await full.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x", ACL: "public-read" }));
  await assert.rejects(full.send(new DeleteBucketCommand({ Bucket })), { name: "BucketNotEmpty" });
  await full.send(new DeleteObjectCommand({ Bucket, Key: "k", VersionId }));
  await full.send(new DeleteBucketCommand({ Bucket }));
  await full.send(new CreateBucketCommand({ Bucket }));
  assert.equal((await full.send(new GetBucketAclCommand({ Bucket }))).Grants?.length, 1);
  assert.equal((await full.send(new GetBucketVersioningCommand({ Bucket }))).Status, undefined);
  await assert.rejects(full.send(new GetBucketLifecycleConfigurationCommand({ Bucket })), {
    name: "NoSuchLifecycleConfiguration",
  });
  await full.send(new PutObjectCommand({ Bucket, Key: "k", Body: "x" }));
  assert.equal((await raw(spaces.port, { path: `/${Bucket}/k` })).status, 403);
});

test("lifecycle rules come back as they were sent, with an id", async () => {
  const Bucket = "lifecycle";
  await full.send(new CreateBucketCommand({ Bucket }));
  const put = (xml: string) => configure(`/${Bucket}?lifecycle`, xml);
  const rule = (id: string, rest = "") =>
    `<Rule>${id}<Filter><Prefix>a &amp; b/</Prefix></Filter><Status>Enabled</Status>${rest}</Rule>`;
  const days = "<Expiration><Days>3</Days></Expiration>";
  assert.equal(
    (
      await put(
        `<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${rule("<ID>z</ID>", days)}${rule("", days)}</LifecycleConfiguration>`,
      )
    ).status,
    200,
  );
  const { Rules } = await full.send(new GetBucketLifecycleConfigurationCommand({ Bucket }));
  assert.deepEqual(
    Rules?.map((one) => [one.Filter?.Prefix, one.Expiration?.Days]),
    [
      ["a & b/", 3],
      ["a & b/", 3],
    ],
  );
  assert.equal(Rules?.[0]?.ID, "z");
  assert.match(Rules?.[1]?.ID ?? "", /^[0-9a-f-]{36}$/);
  for (const bad of [
    "",
    "<x/>",
    "<LifecycleConfiguration/>",
    "<LifecycleConfiguration><Rule><Status>On</Status></Rule></LifecycleConfiguration>",
    "<LifecycleConfiguration>",
  ]) {
    assert.equal((await put(bad)).code, "MalformedXML", bad);
  }
  assert.equal(
    (await put(`<LifecycleConfiguration>${rule("<ID>z</ID>")}${rule("<ID>z</ID>")}</LifecycleConfiguration>`)).code,
    "InvalidArgument",
  );
  await full.send(new DeleteBucketLifecycleCommand({ Bucket }));
  await assert.rejects(full.send(new GetBucketLifecycleConfigurationCommand({ Bucket })), {
    name: "NoSuchLifecycleConfiguration",
  });
});

test("logs go to another bucket that exists", async () => {
  const put = (TargetBucket: string) =>
    full.send(
      new PutBucketLoggingCommand({
        Bucket: "here",
        BucketLoggingStatus: { LoggingEnabled: { TargetBucket, TargetPrefix: "p/" } },
      }),
    );
  await assert.rejects(put("here"), { name: "InvalidArgument" });
  await assert.rejects(put("nowhere"), { name: "InvalidArgument" });
  await put("styles");
  assert.equal(
    (await full.send(new GetBucketLoggingCommand({ Bucket: "here" }))).LoggingEnabled?.TargetBucket,
    "styles",
  );
  await full.send(new PutBucketLoggingCommand({ Bucket: "here", BucketLoggingStatus: {} }));
  assert.equal((await full.send(new GetBucketLoggingCommand({ Bucket: "here" }))).LoggingEnabled, undefined);
});

test("CORS rules answer browsers", async () => {
  const Bucket = "cors";
  await full.send(new CreateBucketCommand({ Bucket }));
  await full.send(new PutObjectCommand({ Bucket, Key: "font", Body: "x", ACL: "public-read" }));
  const host = `${Bucket}.nyc3.spaces.test`;
  const ask = (origin: string) =>
    raw(spaces.port, {
      method: "OPTIONS",
      path: "/font",
      host,
      headers: { origin, "access-control-request-method": "GET" },
    });
  assert.equal((await ask("https://hello.test")).status, 403);
  const CORSRules = [{ AllowedMethods: ["GET"], AllowedOrigins: ["https://hello.test"], MaxAgeSeconds: 60 }];
  await full.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } }));
  const answer = await ask("https://hello.test");
  assert.deepEqual([answer.status, answer.headers["access-control-allow-origin"]], [200, "https://hello.test"]);
  assert.equal((await ask("https://evil.test")).status, 403);
  const read = await raw(spaces.port, { path: "/font", host, headers: { origin: "https://hello.test" } });
  assert.deepEqual([read.text, read.headers["access-control-allow-origin"]], ["x", "https://hello.test"]);
});

test("lists are paged and grouped", async () => {
  const Bucket = "listing";
  await full.send(new CreateBucketCommand({ Bucket }));
  const keys = ["a/1", "a/2", "b", "c&<d>", "e f+ü", "z/1/2"];
  for (const Key of keys) await full.send(new PutObjectCommand({ Bucket, Key, Body: "x" }));
  const found: (string | undefined)[] = [];
  for (let token: string | undefined, page = 0; page < 10; page += 1) {
    const list = await full.send(
      new ListObjectsV2Command({ Bucket, MaxKeys: 2, ...(token && { ContinuationToken: token }) }),
    );
    found.push(...(list.Contents ?? []).map((object) => object.Key));
    token = list.NextContinuationToken;
    if (token === undefined) break;
  }
  assert.deepEqual(found, keys);
  const grouped = await full.send(new ListObjectsV2Command({ Bucket, Delimiter: "/" }));
  assert.deepEqual(
    grouped.CommonPrefixes?.map((one) => one.Prefix),
    ["a/", "z/"],
  );
  assert.equal((await full.send(new ListObjectsV2Command({ Bucket, Prefix: "a/" }))).KeyCount, 2);
});

test("an upload is told why it is refused, without its body being waited for", async () => {
  const body = "x".repeat(1_000_000);
  const headers = signed(spaces.full, { method: "PUT", path: "/nowhere/k", hash: sha256(body) });
  const plain = await raw(spaces.port, { method: "PUT", path: "/nowhere/k", headers, body });
  assert.equal(plain.code, "NoSuchBucket");
  const waiting = await raw(spaces.port, {
    method: "PUT",
    path: "/nowhere/k",
    headers: { ...headers, expect: "100-continue", "content-length": "1000000" },
  });
  assert.equal(waiting.code, "NoSuchBucket");
});

test("keeps what describes an object, and answers conditions", async () => {
  const Bucket = "here";
  const Expires = new Date("2030-01-01T00:00:00Z");
  const described = {
    ContentType: "text/x; charset=utf-8",
    CacheControl: "no-cache",
    ContentDisposition: 'attachment; filename="a"',
    ContentLanguage: "eo",
    ContentEncoding: "gzip",
  };
  const { ETag } = await full.send(
    new PutObjectCommand({ Bucket, Key: "d", Body: "x", Expires, ...described, Metadata: { "with-dash": "v 1" } }),
  );
  const head = await full.send(new HeadObjectCommand({ Bucket, Key: "d" }));
  for (const [name, value] of Object.entries(described)) assert.equal(head[name as keyof typeof head], value, name);
  assert.deepEqual(head.Metadata, { "with-dash": "v 1" });
  assert.equal(head.ETag, ETag);
  await assert.rejects(full.send(new PutObjectCommand({ Bucket, Key: "d", Body: "y", IfNoneMatch: "*" })), {
    name: "PreconditionFailed",
  });
  await assert.rejects(full.send(new PutObjectCommand({ Bucket, Key: "d", Body: "y", IfMatch: '"0"' })), {
    name: "PreconditionFailed",
  });
  const empty = await full.send(new PutObjectCommand({ Bucket, Key: "empty", Body: "" }));
  assert.equal(empty.ETag, '"d41d8cd98f00b204e9800998ecf8427e"');
});

test("multipart uploads are listed, copied into, aborted, and do not hold a bucket", async () => {
  const Bucket = "multipart";
  await full.send(new CreateBucketCommand({ Bucket }));
  await full.send(new PutObjectCommand({ Bucket, Key: "source", Body: "0123456789" }));
  const { UploadId } = await full.send(new CreateMultipartUploadCommand({ Bucket, Key: "m", ACL: "public-read" }));
  const part = { Bucket, Key: "m", UploadId, PartNumber: 1 };
  const copied = await full.send(
    new UploadPartCopyCommand({ ...part, CopySource: `${Bucket}/source`, CopySourceRange: "bytes=2-4" }),
  );
  const { Uploads } = await full.send(new ListMultipartUploadsCommand({ Bucket }));
  assert.deepEqual(
    Uploads?.map((upload) => [upload.Key, upload.UploadId]),
    [["m", UploadId]],
  );
  const { Parts } = await full.send(new ListPartsCommand({ Bucket, Key: "m", UploadId }));
  assert.deepEqual(
    Parts?.map((one) => one.Size),
    [3],
  );
  const Complete = { Parts: [{ PartNumber: 1, ETag: copied.CopyPartResult?.ETag }] };
  await full.send(new CompleteMultipartUploadCommand({ Bucket, Key: "m", UploadId, MultipartUpload: Complete }));
  assert.equal((await raw(spaces.port, { path: `/${Bucket}/m` })).text, "234");

  const aborted = (await full.send(new CreateMultipartUploadCommand({ Bucket, Key: "n" }))).UploadId;
  await full.send(new UploadPartCommand({ Bucket, Key: "n", UploadId: aborted, PartNumber: 1, Body: "x" }));
  await full.send(new AbortMultipartUploadCommand({ Bucket, Key: "n", UploadId: aborted }));
  await assert.rejects(full.send(new ListPartsCommand({ Bucket, Key: "n", UploadId: aborted })), {
    name: "NoSuchUpload",
  });
  await full.send(new CreateMultipartUploadCommand({ Bucket, Key: "left-open" }));
  for (const Key of ["source", "m"]) await full.send(new DeleteObjectCommand({ Bucket, Key }));
  await full.send(new DeleteBucketCommand({ Bucket }));
});

function configure(path: string, body: string) {
  return raw(spaces.port, {
    method: "PUT",
    path,
    body,
    headers: signed(spaces.full, { method: "PUT", path, hash: sha256(body) }),
  });
}

async function names(client: S3Client): Promise<(string | undefined)[]> {
  return ((await client.send(new ListBucketsCommand({}))).Buckets ?? []).map((bucket) => bucket.Name);
}
