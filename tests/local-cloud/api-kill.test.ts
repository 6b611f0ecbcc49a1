import assert from "node:assert/strict";
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { type TestContext, test } from "node:test";
import { type Json, token } from "./api/support.ts";

type Server = ChildProcessByStdio<null, Readable, null>;

async function start(t: TestContext, folder: string): Promise<{ server: Server; url: string }> {
  const script = join(import.meta.dirname, "api/serve.ts");
  const server = spawn(process.execPath, [script, folder], { stdio: ["ignore", "pipe", "ignore"] });
  t.after(() => server.kill("SIGKILL"));
  const [url] = await once(createInterface(server.stdout), "line");
  return { server, url };
}

async function call(url: string, method: string, path: string, body?: Json): Promise<Json> {
  const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
  const response = await fetch(url + path, {
    method,
    headers,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status}`);
  return response.json();
}

async function addTags(url: string, worker: string, answered: Set<string>): Promise<void> {
  for (let number = 0; ; number += 1) {
    const name = `${worker}-${number}`;
    try {
      await call(url, "POST", "/v2/tags", { name });
    } catch {
      return;
    }
    answered.add(name);
  }
}

test("what was answered is there after a kill in the middle of writing", { timeout: 120_000 }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-kill-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const answered = new Set<string>();
  for (let round = 0; round < 3; round += 1) {
    const { server, url } = await start(t, folder);
    const workers = ["a", "b", "c"].map((worker) => addTags(url, `${worker}${round}`, answered));
    const enough = answered.size + 10 + 7 * round;
    while (answered.size < enough) await new Promise((resolve) => setTimeout(resolve, 1));
    server.kill("SIGKILL");
    await Promise.all(workers);
  }
  const { url } = await start(t, folder);
  const there = new Set<string>();
  for (let page = 1; ; page += 1) {
    const { tags, links } = await call(url, "GET", `/v2/tags?per_page=200&page=${page}`);
    for (const tag of tags) there.add(tag.name);
    if (links.pages?.next === undefined) break;
  }
  assert.deepEqual(
    [...answered].filter((name) => !there.has(name)),
    [],
  );
});
