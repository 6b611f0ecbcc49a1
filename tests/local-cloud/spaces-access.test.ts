import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteBucketPolicyCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetBucketAclCommand,
  GetBucketLocationCommand,
  GetBucketVersioningCommand,
  GetObjectAclCommand,
  GetObjectCommand,
  HeadBucketCommand,
  HeadObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  ListObjectVersionsCommand,
  PutBucketAclCommand,
  PutBucketCorsCommand,
  PutBucketLifecycleConfigurationCommand,
  PutBucketPolicyCommand,
  PutBucketVersioningCommand,
  PutObjectAclCommand,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from "@aws-sdk/client-s3";
import { raw } from "./raw-request.ts";
import { startTestSpaces, type TestSpaces } from "./spaces-support.ts";

let spaces: TestSpaces;
let full: S3Client;
const Bucket = "mine";

before(async () => {
  spaces = await startTestSpaces();
  full = spaces.client(spaces.full);
  for (const name of [Bucket, "other"]) {
    await full.send(new CreateBucketCommand({ Bucket: name }));
    await full.send(new PutObjectCommand({ Bucket: name, Key: "file", Body: name }));
  }
});
after(() => spaces.stop());

test("a read key reads its bucket and does nothing else", async () => {
  const reader = spaces.client(spaces.key([{ bucket: Bucket, permission: "read" }]));
  assert.equal(await contentOf(reader, "file"), Bucket);
  await reader.send(new HeadObjectCommand({ Bucket, Key: "file" }));
  await reader.send(new HeadBucketCommand({ Bucket }));
  assert.equal((await reader.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 1);
  assert.equal((await reader.send(new GetBucketLocationCommand({ Bucket }))).LocationConstraint, "nyc3");
  await denied(reader.send(new PutObjectCommand({ Bucket, Key: "file", Body: "evil" })));
  await denied(reader.send(new DeleteObjectCommand({ Bucket, Key: "file" })));
  await denied(reader.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key: "file" }] } })));
  await denied(reader.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/file` })));
  await denied(reader.send(new CreateMultipartUploadCommand({ Bucket, Key: "big" })));
  await deniedWhatIsFullOnly(reader);
  await deniedOutside(reader);
  assert.equal(await contentOf(full, "file"), Bucket);
});

test("a readwrite key also writes, with an ACL for each object, and does nothing else", async () => {
  const writer = spaces.client(spaces.key([{ bucket: Bucket, permission: "readwrite" }]));
  await writer.send(new PutObjectCommand({ Bucket, Key: "new", Body: "new", ACL: "public-read" }));
  assert.equal((await anonymous("/new")).text, "new");
  await writer.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/new` }));
  await denied(writer.send(new CopyObjectCommand({ Bucket, Key: "stolen", CopySource: "other/file" })));
  const { UploadId } = await writer.send(new CreateMultipartUploadCommand({ Bucket, Key: "parts" }));
  const part = { Bucket, Key: "parts", UploadId, PartNumber: 1 };
  const { ETag } = await writer.send(new UploadPartCommand({ ...part, Body: "part" }));
  await writer.send(
    new CompleteMultipartUploadCommand({
      Bucket,
      Key: "parts",
      UploadId,
      MultipartUpload: { Parts: [{ ETag, PartNumber: 1 }] },
    }),
  );
  await writer.send(
    new DeleteObjectsCommand({ Bucket, Delete: { Objects: ["new", "copy", "parts"].map((Key) => ({ Key })) } }),
  );
  assert.equal((await writer.send(new ListObjectsV2Command({ Bucket }))).KeyCount, 1);
  await deniedWhatIsFullOnly(writer);
  await deniedOutside(writer);
});

test("a key without grants may do nothing, one with several only what each gives", async () => {
  const nobody = spaces.client(spaces.key([]));
  await denied(nobody.send(new GetObjectCommand({ Bucket, Key: "file" })));
  await denied(nobody.send(new ListBucketsCommand({})));
  const both = spaces.client(
    spaces.key([
      { bucket: Bucket, permission: "read" },
      { bucket: "other", permission: "readwrite" },
    ]),
  );
  await both.send(new CopyObjectCommand({ Bucket: "other", Key: "from-mine", CopySource: `${Bucket}/file` }));
  await denied(both.send(new CopyObjectCommand({ Bucket, Key: "from-other", CopySource: "other/file" })));
  await both.send(new DeleteObjectCommand({ Bucket: "other", Key: "from-mine" }));
});

test("a name that is a prefix of a granted bucket's gives nothing", async () => {
  await full.send(new CreateBucketCommand({ Bucket: "mine-too" }));
  const reader = spaces.client(spaces.key([{ bucket: Bucket, permission: "read" }]));
  await denied(reader.send(new ListObjectsV2Command({ Bucket: "mine-too" })));
});

test("nobody reads a private object, everybody a public one; the bucket's own ACL is about its list", async () => {
  await full.send(
    new PutObjectCommand({
      Bucket,
      Key: "open/a.css",
      Body: "a{}",
      ACL: "public-read",
      ContentType: "text/css",
      CacheControl: "public, max-age=31536000, immutable",
    }),
  );
  const open = await anonymous("/open/a.css");
  assert.deepEqual([open.status, open.text, open.headers["content-type"]], [200, "a{}", "text/css"]);
  assert.equal(open.headers["cache-control"], "public, max-age=31536000, immutable");
  assert.ok(!Object.keys(open.headers).some((name) => name.includes("chillbox")));
  const head = await anonymous("/open/a.css", { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"], head.text], [200, "3", ""]);
  const part = await anonymous("/open/a.css", { headers: { range: "bytes=0-0" } });
  assert.deepEqual([part.status, part.text, part.headers["content-range"]], [206, "a", "bytes 0-0/3"]);
  assert.equal(
    (await anonymous("/open/a.css", { headers: { "if-none-match": String(open.headers.etag) } })).status,
    304,
  );
  assert.equal((await anonymous("/file", { headers: { "if-none-match": "*" } })).status, 403);
  for (const path of ["/file", "/missing", "/", "/?list-type=2", "/open/a.css?acl", "/open/a.css?versionId=null"]) {
    const answer = await anonymous(path);
    assert.deepEqual([path, answer.status, answer.code], [path, 403, "AccessDenied"]);
  }
  assert.equal((await anonymous("/open/a.css?response-content-type=text%2Fhtml")).code, "InvalidRequest");
  assert.equal((await anonymous("/open/a.css", { method: "DELETE" })).status, 403);
  assert.equal((await anonymous("/open/b.css", { method: "PUT", body: "x" })).status, 403);

  await full.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" }));
  assert.match((await anonymous("/?list-type=2&prefix=open%2F")).text, /<Key>open\/a.css<\/Key>/);
  assert.equal((await anonymous("/file")).status, 403);
  assert.equal((await anonymous("/missing")).code, "NoSuchKey");
  assert.equal((await anonymous("/?versions")).status, 403);
  assert.equal((await full.send(new GetBucketAclCommand({ Bucket }))).Grants?.length, 2);
  await full.send(new PutBucketAclCommand({ Bucket, ACL: "private" }));
  assert.equal((await anonymous("/?list-type=2")).status, 403);
});

test("any key may read what everybody may", async () => {
  const nobody = spaces.client(spaces.key([]));
  assert.equal(await contentOf(nobody, "open/a.css"), "a{}");
});

test("an ACL goes with the content that it was given to", async () => {
  const Key = "changing";
  const status = async () => (await anonymous(`/${Key}`)).status;
  await full.send(new PutObjectCommand({ Bucket, Key, Body: "1", ACL: "public-read" }));
  assert.equal(await status(), 200);
  await full.send(new PutObjectCommand({ Bucket, Key, Body: "2" }));
  assert.equal(await status(), 403);
  await full.send(new PutObjectAclCommand({ Bucket, Key, ACL: "public-read" }));
  assert.equal(await status(), 200);
  assert.equal((await full.send(new GetObjectAclCommand({ Bucket, Key }))).Grants?.length, 2);
  await full.send(new DeleteObjectCommand({ Bucket, Key }));
  await full.send(new PutObjectCommand({ Bucket, Key, Body: "3" }));
  assert.equal(await status(), 403, "a deleted object's ACL must not come back");
  await full.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/open/a.css` }));
  assert.equal(await status(), 403, "a copy is private");
  const copied = await full.send(new HeadObjectCommand({ Bucket, Key }));
  assert.deepEqual([copied.ContentType, copied.CacheControl], ["text/css", "public, max-age=31536000, immutable"]);
  await full.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/open/a.css`, ACL: "public-read" }));
  assert.equal(await status(), 200);
  await assert.rejects(full.send(new CopyObjectCommand({ Bucket, Key, CopySource: `${Bucket}/${Key}` })), {
    name: "InvalidRequest",
  });
  const replaced = {
    Bucket,
    Key,
    CopySource: `${Bucket}/${Key}`,
    MetadataDirective: "REPLACE",
    ContentType: "text/plain",
  } as const;
  await full.send(new CopyObjectCommand(replaced));
  assert.equal(await status(), 403);
  assert.equal((await full.send(new HeadObjectCommand({ Bucket, Key }))).ContentType, "text/plain");
});

test("a multipart upload has the ACL that it began with", async () => {
  for (const [Key, ACL, expected] of [
    ["parts-open", "public-read", 200],
    ["parts-closed", undefined, 403],
  ] as const) {
    const { UploadId } = await full.send(new CreateMultipartUploadCommand({ Bucket, Key, ...(ACL && { ACL }) }));
    const { ETag } = await full.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "part" }));
    await full.send(
      new CompleteMultipartUploadCommand({
        Bucket,
        Key,
        UploadId,
        MultipartUpload: { Parts: [{ ETag, PartNumber: 1 }] },
      }),
    );
    assert.equal((await anonymous(`/${Key}`)).status, expected, Key);
  }
});

test("clients can neither see nor forge what ties an ACL to its object", async () => {
  await full.send(
    new PutObjectCommand({ Bucket, Key: "forged", Body: "x", Metadata: { "chillbox-id": "forged", own: "1" } }),
  );
  assert.deepEqual((await full.send(new HeadObjectCommand({ Bucket, Key: "forged" }))).Metadata, { own: "1" });
  assert.equal((await anonymous("/forged")).status, 403);
});

test("only private and public-read are ACLs of Spaces", async () => {
  const put = (ACL: "public-read-write" | "authenticated-read") =>
    full.send(new PutObjectCommand({ Bucket, Key: "x", Body: "x", ACL }));
  await assert.rejects(put("public-read-write"), { name: "InvalidArgument" });
  await assert.rejects(put("authenticated-read"), { name: "InvalidArgument" });
  const grant = new PutObjectCommand({
    Bucket,
    Key: "x",
    Body: "x",
    GrantRead: 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
  });
  await assert.rejects(full.send(grant), { name: "NotImplemented" });
});

test("a bucket's policy opens what it says, until it is deleted", async () => {
  const statement = {
    Effect: "Allow",
    Principal: "*",
    Action: "s3:GetObject",
    Resource: `arn:aws:s3:::${Bucket}/pub/*`,
  };
  await full.send(new PutObjectCommand({ Bucket, Key: "pub/x", Body: "by policy" }));
  assert.equal((await anonymous("/pub/x")).status, 403);
  await full.send(
    new PutBucketPolicyCommand({ Bucket, Policy: JSON.stringify({ Version: "2012-10-17", Statement: [statement] }) }),
  );
  assert.equal((await anonymous("/pub/x")).text, "by policy");
  assert.equal((await anonymous("/file")).status, 403);
  assert.equal((await anonymous("/?list-type=2")).status, 403);
  assert.equal((await anonymous("/pub/y", { method: "PUT", body: "x" })).status, 403);
  await full.send(new DeleteBucketPolicyCommand({ Bucket }));
  assert.equal((await anonymous("/pub/x")).status, 403);
});

test("of an older version only a key may read, and its ACL holds when it comes back", async () => {
  const versioned = "versioned";
  await full.send(new CreateBucketCommand({ Bucket: versioned }));
  await full.send(
    new PutBucketVersioningCommand({ Bucket: versioned, VersioningConfiguration: { Status: "Enabled" } }),
  );
  const get = (path: string) => raw(spaces.port, { path, host: `${versioned}.nyc3.spaces.test` });
  const first = await full.send(
    new PutObjectCommand({ Bucket: versioned, Key: "k", Body: "first", ACL: "public-read" }),
  );
  assert.equal((await get("/k")).text, "first");
  const second = await full.send(new PutObjectCommand({ Bucket: versioned, Key: "k", Body: "second" }));
  assert.equal((await get("/k")).status, 403);
  assert.equal((await get(`/k?versionId=${first.VersionId}`)).status, 403);
  await full.send(new DeleteObjectCommand({ Bucket: versioned, Key: "k", VersionId: second.VersionId }));
  assert.equal((await get("/k")).text, "first");
});

async function deniedWhatIsFullOnly(client: S3Client): Promise<void> {
  await denied(client.send(new ListBucketsCommand({})));
  await denied(client.send(new CreateBucketCommand({ Bucket: "made-by-scoped-key" })));
  await denied(client.send(new DeleteBucketCommand({ Bucket })));
  await denied(client.send(new GetBucketAclCommand({ Bucket })));
  await denied(client.send(new PutBucketAclCommand({ Bucket, ACL: "public-read" })));
  await denied(client.send(new PutObjectAclCommand({ Bucket, Key: "file", ACL: "public-read" })));
  await denied(client.send(new GetBucketVersioningCommand({ Bucket })));
  await denied(client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Enabled" } })));
  await denied(client.send(new PutBucketPolicyCommand({ Bucket, Policy: "{}" })));
  const CORSRules = [{ AllowedMethods: ["GET"], AllowedOrigins: ["*"] }];
  await denied(client.send(new PutBucketCorsCommand({ Bucket, CORSConfiguration: { CORSRules } })));
  const Rules = [{ ID: "a", Status: "Enabled", Filter: { Prefix: "" }, Expiration: { Days: 1 } }] as const;
  await denied(
    client.send(new PutBucketLifecycleConfigurationCommand({ Bucket, LifecycleConfiguration: { Rules: [...Rules] } })),
  );
}

async function deniedOutside(client: S3Client): Promise<void> {
  const other = { Bucket: "other" };
  await denied(client.send(new GetObjectCommand({ ...other, Key: "file" })));
  await denied(client.send(new ListObjectsV2Command(other)));
  await denied(client.send(new ListObjectVersionsCommand(other)));
  await denied(client.send(new PutObjectCommand({ ...other, Key: "file", Body: "evil" })));
  await denied(client.send(new DeleteObjectCommand({ ...other, Key: "file" })));
  assert.equal(await contentOf(full, "file", "other"), "other");
}

async function denied(request: Promise<unknown>): Promise<void> {
  await assert.rejects(request, (error: Error & { $metadata?: { httpStatusCode?: number } }) => {
    assert.equal(error.$metadata?.httpStatusCode, 403);
    assert.ok(["AccessDenied", "Forbidden", "403"].includes(error.name), error.name);
    return true;
  });
}

async function contentOf(client: S3Client, Key: string, bucket = Bucket): Promise<string | undefined> {
  return (await client.send(new GetObjectCommand({ Bucket: bucket, Key }))).Body?.transformToString();
}

function anonymous(path: string, options: Omit<Parameters<typeof raw>[1], "path"> = {}) {
  return raw(spaces.port, { path, host: `${Bucket}.nyc3.spaces.test`, ...options });
}
