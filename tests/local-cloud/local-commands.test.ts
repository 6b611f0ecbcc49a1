import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { hostname, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  CreateBucketCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  type S3Client,
} from "@aws-sdk/client-s3";
import { hashFile, packFolder, readArchive, readFolder } from "../../lib/archive.ts";
import { ownCache, startIndex } from "../unit/lib/tiny-packages.ts";
import { raw } from "./raw-request.ts";
import { startTestSpaces, type TestKey, type TestSpaces } from "./spaces-support.ts";

const [bucket, publicBucket] = ["mine", "for-all"];
const repository = join(import.meta.dirname, "../..");
let spaces: TestSpaces;
let full: S3Client;
let folder: string;
let key: TestKey;

before(async () => {
  spaces = await startTestSpaces();
  full = spaces.client(spaces.full);
  for (const name of [bucket, publicBucket]) await full.send(new CreateBucketCommand({ Bucket: name }));
  key = spaces.key([bucket, publicBucket].map((name) => ({ bucket: name, permission: "readwrite" as const })));
  folder = await mkdtemp(join(tmpdir(), "chillbox-put-"));
});
after(async () => {
  await spaces.stop();
  await rm(folder, { recursive: true });
});

/** Runs a local command as the plugin does: input on stdin, nothing secret in its environment. */
function run(
  script: string,
  input: object,
  by: TestKey = key,
  environment: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  const target = { endpoint: "http://nyc3.spaces.test", region: "nyc3", ...by };
  const buckets = { ...target, artifactBucket: bucket, immutableBucket: publicBucket };
  return new Promise((resolve, reject) => {
    const child = execFile(
      "sh",
      ["local-commands/run.sh", `local-commands/${script}`],
      { cwd: repository, env: { ...process.env, HTTP_PROXY: `http://127.0.0.1:${spaces.port}`, ...environment } },
      (error, stdout, stderr) => (error ? reject(new Error(stderr)) : resolve(JSON.parse(stdout))),
    );
    child.stdin?.end(JSON.stringify({ spaces: { ...target, bucket }, buckets, ...input }));
  });
}

const keysNow = async (name = bucket) =>
  ((await full.send(new ListObjectsV2Command({ Bucket: name }))).Contents ?? []).map((object) => object.Key);

test("an artifact is put once, with its type and ACL", async () => {
  const path = join(folder, "a.tar.gz");
  await writeFile(path, Buffer.alloc(3_000_000, "a"));
  const asBuilt = { sha256: "1", size: 3_000_000, digest: "d" };
  const input = { upload: { slug: "a", version: "1.0.0", artifact: { ...asBuilt, path }, trees: [] } };
  const by = `${userInfo().username}@${hostname()}`;
  assert.deepEqual(await run("put-release.ts", input), { artifact: asBuilt, sent: 2, by });
  assert.deepEqual(await run("put-release.ts", input), { artifact: asBuilt, sent: 0, by });
  const head = await full.send(new HeadObjectCommand({ Bucket: bucket, Key: "sites/a/1.tar.gz" }));
  assert.equal(head.ContentType, "application/gzip");
  assert.equal(head.ContentLength, 3_000_000);
  await writeFile(path, "b");
  assert.equal((await run("put-release.ts", input)).sent, 1);
});

test("an artifact is not put as long as the server could not install it, and gets the wheels that were fetched", async () => {
  const tree = join(folder, "lacking");
  await mkdir(join(tree, "api"), { recursive: true });
  const requirement = "alpha==1.0";
  const changed = { XDG_CACHE_HOME: await ownCache(folder) };
  await writeFile(join(tree, "api/requirements.txt"), `${requirement}\n`);
  const path = join(folder, "lacking.tar.gz");
  const asBuilt = { ...(await packFolder(tree, await readFolder(tree), path, "lacking")), digest: "d" };
  const server = { python: "3.13", platforms: ["musllinux_1_2_x86_64"] };
  const python = { services: [{ name: "api", carried: ["base"] }], server, fetchWheels: false };
  const upload = { slug: "lacking", version: "1.0.0", artifact: { ...asBuilt, path }, trees: [] };
  await assert.rejects(run("put-release.ts", { upload: { ...upload, python } }, key, changed), (error: Error) => {
    assert.match(error.message, new RegExp(`^lacking 1\\.0\\.0: the service "api" .*lacks ${requirement}`));
    return true;
  });
  assert.ok(!(await keysNow()).some((key) => key?.startsWith("sites/lacking/")));

  const wheel = `${requirement.replace("==", "-")}-py3-none-any.whl`;
  const index = await startIndex(folder, [wheel]);
  const fetching = { upload: { ...upload, python: { ...python, fetchWheels: true } } };
  const put = await run("put-release.ts", fetching, key, { ...changed, PIP_INDEX_URL: index.url });
  const artifact = put.artifact as { sha256: string; size: number };
  assert.notEqual(artifact.sha256, asBuilt.sha256);
  const object = await full.send(
    new GetObjectCommand({ Bucket: bucket, Key: `sites/lacking/${artifact.sha256}.tar.gz` }),
  );
  const packed = join(folder, "put.tar.gz");
  await writeFile(packed, (await object.Body?.transformToByteArray()) ?? "");
  assert.equal(await hashFile(packed), artifact.sha256);
  const paths = (await readArchive(packed, { topFolder: "lacking" })).map((entry) => entry.path);
  assert.deepEqual(paths.slice(-2), [`lacking/api/chillbox-wheels/${wheel}`, "lacking/api/requirements.txt"]);
  await run("remove-release.ts", { upload });
});

test("immutable files are public and may be kept for ever; the mark is not public", async () => {
  const tree = join(folder, "tree");
  await mkdir(join(tree, "sub"), { recursive: true });
  await writeFile(join(tree, "a.css"), "a{}");
  await writeFile(join(tree, "sub", "b +ü.js"), "b");
  const path = join(folder, "shop.tar.gz");
  await writeFile(path, "shop");
  const upload = {
    slug: "shop",
    version: "1.0.0",
    artifact: { path, sha256: "2", size: 4, digest: "d" },
    trees: [{ folder: tree, prefix: "shop/immutable/assets/h", digest: "d" }],
  };
  const marker = "shop/versions/1.0.0/version.txt";
  assert.equal((await run("put-release.ts", { upload })).sent, 4);
  const css = await full.send(new GetObjectCommand({ Bucket: publicBucket, Key: "shop/immutable/assets/h/a.css" }));
  assert.equal(css.CacheControl, "public, max-age=31536000, immutable");
  assert.equal(css.ContentType, "text/css; charset=utf-8");
  const status = async (path: string) => (await raw(spaces.port, { path: `/${publicBucket}/${path}` })).status;
  assert.equal(await status("shop/immutable/assets/h/a.css"), 200);
  assert.equal(await status(marker), 403);
  const mark = await full.send(new GetObjectCommand({ Bucket: publicBucket, Key: marker }));
  assert.equal(await mark.Body?.transformToString(), "1.0.0\n");
});

test("what was put for a site is removed, other sites' files stay; twice is no error", async () => {
  assert.ok((await keysNow(publicBucket)).includes("shop/immutable/assets/h/sub/b +ü.js"));
  const upload = { slug: "shop" };
  assert.deepEqual(await run("remove-release.ts", { upload }), { removed: 4 });
  assert.deepEqual(await run("remove-release.ts", { upload }), { removed: 0 });
  assert.deepEqual(await keysNow(publicBucket), ["a/versions/1.0.0/version.txt"]);
  assert.deepEqual(await run("remove-objects.ts", { prefixes: ["sites/b/"] }), { removed: 0 });
  assert.deepEqual(await keysNow(), ["sites/a/1.tar.gz"]);
  assert.deepEqual(await run("remove-objects.ts", { prefixes: ["sites/a/"] }), { removed: 1 });
});

test("a refusal says what Spaces answered, and shows no secret", async () => {
  const reader = spaces.key([
    { bucket, permission: "read" },
    { bucket: publicBucket, permission: "readwrite" },
  ]);
  const path = join(folder, "c");
  await writeFile(path, "c");
  const upload = { slug: "c", version: "1.0.0", artifact: { path, sha256: "c", size: 1, digest: "d" }, trees: [] };
  await assert.rejects(run("put-release.ts", { upload }, reader), (error: Error) => {
    assert.match(error.message, /^Putting sites\/c\/c\.tar\.gz into mine failed: Spaces answered 403 AccessDenied/);
    assert.ok(!error.message.includes(reader.secretKey));
    return true;
  });
});
