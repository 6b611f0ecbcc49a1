import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type S3Client,
} from "@aws-sdk/client-s3";
import { raw } from "./raw-request.ts";
import { startTestSpaces, type TestKey, type TestSpaces } from "./spaces-support.ts";

const bucket = "mine";
const repository = join(import.meta.dirname, "../..");
let spaces: TestSpaces;
let full: S3Client;
let folder: string;
let key: TestKey;

before(async () => {
  spaces = await startTestSpaces();
  full = spaces.client(spaces.full);
  await full.send(new CreateBucketCommand({ Bucket: bucket }));
  key = spaces.key([{ bucket, permission: "readwrite" }]);
  folder = await mkdtemp(join(tmpdir(), "chillbox-put-"));
});
after(async () => {
  await spaces.stop();
  await rm(folder, { recursive: true });
});

/** Runs a local command as the plugin does: input on stdin, nothing secret in its environment. */
function run(script: string, input: object, by: TestKey = key): Promise<Record<string, unknown>> {
  const target = { endpoint: "http://nyc3.spaces.test", region: "nyc3", bucket, ...by };
  return new Promise((resolve, reject) => {
    const child = execFile(
      "sh",
      ["local-commands/run.sh", `local-commands/${script}`],
      { cwd: repository, env: { ...process.env, HTTP_PROXY: `http://127.0.0.1:${spaces.port}` } },
      (error, stdout, stderr) => (error ? reject(new Error(stderr)) : resolve(JSON.parse(stdout))),
    );
    child.stdin?.end(JSON.stringify({ spaces: target, ...input }));
  });
}

const keysNow = async () =>
  ((await full.send(new ListObjectsV2Command({ Bucket: bucket }))).Contents ?? []).map((object) => object.Key);

test("a file is put once, with its type and ACL", async () => {
  const path = join(folder, "a.tar.gz");
  await writeFile(path, Buffer.alloc(3_000_000, "a"));
  const object = { key: "sites/a/1.tar.gz", path, acl: "private" };
  assert.deepEqual(await run("put-object.ts", { object }), { sent: 1 });
  assert.deepEqual(await run("put-object.ts", { object }), { sent: 0 });
  const head = await full.send(new HeadObjectCommand({ Bucket: bucket, Key: object.key }));
  assert.equal(head.ContentType, "application/gzip");
  assert.equal(head.ContentLength, 3_000_000);
  await writeFile(path, "b");
  assert.deepEqual(await run("put-object.ts", { object }), { sent: 1 });
});

test("immutable files are public and may be kept for ever; the mark is not public", async () => {
  const tree = join(folder, "tree");
  await mkdir(join(tree, "sub"), { recursive: true });
  await writeFile(join(tree, "a.css"), "a{}");
  await writeFile(join(tree, "sub", "b +ü.js"), "b");
  const input = {
    trees: [{ folder: tree, prefix: "shop/immutable/assets/h", digest: "d" }],
    marker: { key: "shop/versions/1.0.0/version.txt", text: "1.0.0\n" },
  };
  assert.deepEqual(await run("put-tree.ts", input), { sent: 2 });
  assert.deepEqual(await run("put-tree.ts", input), { sent: 0 });
  const css = await full.send(new GetObjectCommand({ Bucket: bucket, Key: "shop/immutable/assets/h/a.css" }));
  assert.equal(css.CacheControl, "public, max-age=31536000, immutable");
  assert.equal(css.ContentType, "text/css; charset=utf-8");
  const status = async (path: string) => (await raw(spaces.port, { path: `/${bucket}/${path}` })).status;
  assert.equal(await status("shop/immutable/assets/h/a.css"), 200);
  assert.equal(await status(input.marker.key), 403);
  const mark = await full.send(new GetObjectCommand({ Bucket: bucket, Key: input.marker.key }));
  assert.equal(await mark.Body?.transformToString(), "1.0.0\n");
});

test("what begins with a prefix is removed, other sites' files stay; twice is no error", async () => {
  assert.ok((await keysNow()).includes("shop/immutable/assets/h/sub/b +ü.js"));
  assert.deepEqual(await run("remove-objects.ts", { prefixes: ["shop/"] }), { removed: 3 });
  assert.deepEqual(await run("remove-objects.ts", { prefixes: ["shop/"] }), { removed: 0 });
  assert.deepEqual(await keysNow(), ["sites/a/1.tar.gz"]);
});

test("a refusal says what Spaces answered, and shows no secret", async () => {
  const reader = spaces.key([{ bucket, permission: "read" }]);
  const path = join(folder, "c");
  await writeFile(path, "c");
  await assert.rejects(run("put-object.ts", { object: { key: "c", path, acl: "private" } }, reader), (error: Error) => {
    assert.match(error.message, /^Putting c into mine failed: Spaces answered 403 AccessDenied/);
    assert.ok(!error.message.includes(reader.secretKey));
    return true;
  });
});
