import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { raw } from "./raw-request.ts";
import { signed } from "./spaces-sign.ts";
import { startTestSpaces } from "./spaces-support.ts";

test("an object that is overwritten again and again is always there, whole, and public", async () => {
  const spaces = await startTestSpaces();
  try {
    const full = spaces.client(spaces.full);
    await full.send(new CreateBucketCommand({ Bucket: "box" }));
    const put = (index: number) =>
      full.send(
        new PutObjectCommand({
          Bucket: "box",
          Key: "page",
          Body: String(index % 10).repeat(50_000),
          ACL: "public-read",
        }),
      );
    await put(0);
    let writing = true;
    let reads = 0;
    const read = async () => {
      while (writing) {
        const answer = await raw(spaces.port, { path: "/box/page" });
        assert.deepEqual([answer.status, answer.text.length, new Set(answer.text).size], [200, 50_000, 1]);
        reads += 1;
      }
    };
    const readers = [read(), read(), read()];
    const write = async () => {
      for (let index = 0; index < 150; index += 1) await put(index);
    };
    await Promise.all([write(), write()]);
    writing = false;
    await Promise.all(readers);
    assert.ok(reads > 100, `${reads} reads`);
  } finally {
    await spaces.stop();
  }
});

test("of writers with different ACLs no private content is ever open", async () => {
  const spaces = await startTestSpaces();
  try {
    const full = spaces.client(spaces.full);
    await full.send(new CreateBucketCommand({ Bucket: "box" }));
    let writing = true;
    let open = 0;
    const read = async () => {
      while (writing) {
        const answer = await raw(spaces.port, { path: "/box/page" });
        if (answer.status === 200) {
          assert.equal(answer.text, "open");
          open += 1;
        } else assert.equal(answer.status, 403);
      }
    };
    const readers = [read(), read()];
    const write = async (Body: string, ACL: "public-read" | "private") => {
      for (let index = 0; index < 150; index += 1)
        await full.send(new PutObjectCommand({ Bucket: "box", Key: "page", Body, ACL }));
    };
    await Promise.all([write("open", "public-read"), write("closed", "private")]);
    writing = false;
    await Promise.all(readers);
    assert.ok(open > 0);
  } finally {
    await spaces.stop();
  }
});

test("everything is there after a restart", async () => {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-spaces-"));
  try {
    const first = await startTestSpaces(folder);
    const before = first.client(first.full);
    await before.send(new CreateBucketCommand({ Bucket: "kept", ACL: "public-read" }));
    await before.send(
      new PutObjectCommand({ Bucket: "kept", Key: "k", Body: "kept", ACL: "public-read", CacheControl: "no-cache" }),
    );
    await before.send(new PutObjectCommand({ Bucket: "kept", Key: "closed", Body: "kept" }));
    await first.stop();
    const second = await startTestSpaces(folder);
    const answer = await raw(second.port, { path: "/kept/k" });
    assert.deepEqual([answer.text, answer.headers["cache-control"]], ["kept", "no-cache"]);
    assert.equal((await raw(second.port, { path: "/kept/closed" })).status, 403);
    assert.equal((await raw(second.port, { path: "/kept" })).status, 200);
    await second.stop();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("a bucket whose deletion was killed half-way is gone after a restart", async () => {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-spaces-"));
  try {
    const first = await startTestSpaces(folder);
    await first.client(first.full).send(new CreateBucketCommand({ Bucket: "half" }));
    await first.stop();
    await rm(join(folder, "data/half"), { recursive: true });
    const second = await startTestSpaces(folder);
    await second.client(second.full).send(new CreateBucketCommand({ Bucket: "half" }));
    await second.stop();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test("stopping ends the object store; when that dies by itself it is started again", async (t) => {
  const spaces = await startTestSpaces();
  t.after(() => spaces.stop());
  const full = spaces.client(spaces.full);
  await full.send(new CreateBucketCommand({ Bucket: "box" }));
  await full.send(new PutObjectCommand({ Bucket: "box", Key: "k", Body: "x" }));
  const first = spaces.spaces.pid;
  assert.ok(first);
  process.kill(first, "SIGKILL");
  await until(() => spaces.spaces.pid !== first && spaces.spaces.pid !== undefined);
  const status = async () =>
    (await raw(spaces.port, { path: "/box/k", headers: signed(spaces.full, { path: "/box/k" }) })).status;
  await until(async () => (await status()) === 200);
  const second = spaces.spaces.pid;
  await spaces.stop();
  assert.ok(!existsSync(`/proc/${first}`) && !existsSync(`/proc/${second}`));
  await assert.rejects(raw(spaces.port, { path: "/" }));
});

test("the object store dies with the program, even when that is killed", async () => {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-spaces-"));
  const support = join(import.meta.dirname, "spaces-support.ts");
  const program = `const { startTestSpaces } = await import(${JSON.stringify(support)});
    const spaces = await startTestSpaces(${JSON.stringify(folder)});
    console.log(spaces.spaces.pid);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let pid = 0;
  try {
    pid = await new Promise<number>((resolve) =>
      child.stdout.once("data", (data: Buffer) => resolve(Number(data.toString()))),
    );
    assert.match(readFileSync(`/proc/${pid}/cmdline`, "utf8"), /versitygw/);
    child.kill("SIGKILL");
    await until(() => !existsSync(`/proc/${pid}`));
  } finally {
    child.kill("SIGKILL");
    if (pid !== 0 && existsSync(`/proc/${pid}`)) process.kill(pid, "SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});

test("streams big objects without keeping them in memory", async () => {
  const spaces = await startTestSpaces();
  try {
    const full = spaces.client(spaces.full);
    await full.send(new CreateBucketCommand({ Bucket: "box" }));
    const piece = randomBytes(1 << 20);
    const count = 200;
    const hash = createHash("md5");
    for (let index = 0; index < count; index += 1) hash.update(piece);
    const before = process.memoryUsage().rss;
    let highest = before;
    const watch = setInterval(() => {
      highest = Math.max(highest, process.memoryUsage().rss);
    }, 20);
    const headers = {
      ...signed(spaces.full, { method: "PUT", path: "/box/big", hash: "UNSIGNED-PAYLOAD" }),
      "content-length": String(count << 20),
    };
    const answer = await upload(spaces.port, headers, piece, count);
    assert.equal(answer, `"${hash.digest("hex")}"`);
    const got = await full.send(new GetObjectCommand({ Bucket: "box", Key: "big" }));
    let size = 0;
    for await (const part of got.Body as AsyncIterable<Buffer>) size += part.length;
    clearInterval(watch);
    assert.equal(size, count << 20);
    assert.ok(highest - before < 120 << 20, `${(highest - before) >> 20} MiB more than before`);
  } finally {
    await spaces.stop();
  }
});

function upload(port: number, headers: Record<string, string>, piece: Buffer, count: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const sent = request(
      { host: "127.0.0.1", port, method: "PUT", path: "/box/big", headers, setHost: false },
      (response) => {
        response.resume();
        resolve(String(response.headers.etag));
      },
    );
    sent.on("error", reject);
    let index = 0;
    const write = () => {
      while (index < count) {
        index += 1;
        if (!sent.write(piece)) {
          sent.once("drain", write);
          return;
        }
      }
      sent.end();
    };
    write();
  });
}

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await sleep(50);
  }
  assert.fail("it did not come about within 10 seconds");
}
