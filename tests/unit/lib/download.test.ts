import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type DownloadLimits, download } from "../../../lib/download.ts";
import { buildRelease } from "../../../lib/release.ts";
import type { SiteFile } from "../../../lib/site-file.ts";
import { temporaryFolder } from "./temporary-folder.ts";

type Answer = (question: IncomingMessage, response: ServerResponse) => void;

const parent = await temporaryFolder();
const content = Buffer.alloc(300_000, "0123456789abcdef!");
/** What the server does, by path. */
const answers = new Map<string, Answer>();
/** The questions that came: path, then the headers that choose. */
let questions: { path: string; range?: string; ifRange?: string; ifNoneMatch?: string }[] = [];
const server = createServer((question, response) => {
  const { range, "if-range": ifRange, "if-none-match": ifNoneMatch } = question.headers;
  const asked = { range, ifRange: ifRange as string | undefined, ifNoneMatch };
  questions.push({ path: question.url ?? "", ...JSON.parse(JSON.stringify(asked)) });
  const answer = answers.get((question.url ?? "").split("?")[0] ?? "");
  if (answer) answer(question, response);
  else response.writeHead(404).end();
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
after(() => {
  server.closeAllConnections();
  server.close();
});
const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

let folder = "";
let lines: string[] = [];
let run = 0;
beforeEach(() => {
  run += 1;
  folder = join(parent, `run-${run}`);
  lines = [];
  questions = [];
  answers.clear();
});

const fetchFile = (path: string, limits: Partial<DownloadLimits> = {}) =>
  download(base + path, { folder, limits, log: (line) => lines.push(line) });

/** Serves bytes as a file server does: with a tag, ranges, and 304. `cut` says after how many bytes the nth answer breaks off. */
function serve(path: string, bytes: Buffer, etag: string, cut: number[] = []): void {
  const cuts = [...cut];
  answers.set(path, ({ headers }, response) => {
    if (headers["if-none-match"] === etag) return response.writeHead(304, { etag }).end();
    const wanted = /^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1];
    const from = wanted !== undefined && headers["if-range"] === etag ? Number(wanted) : 0;
    const body = bytes.subarray(from);
    const range = from > 0 ? { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` } : {};
    response.writeHead(from > 0 ? 206 : 200, { etag, "content-length": body.length, ...range });
    const end = cuts.shift();
    if (end === undefined) return response.end(body);
    response.write(body.subarray(0, end), () => setTimeout(() => response.destroy(), 20));
  });
}

/** Bytes that have come of a file that is being fetched. */
async function partSize(): Promise<number> {
  const names = await readdir(folder, { recursive: true }).catch(() => []);
  const data = names.find((name) => name.endsWith("/data"));
  return data === undefined ? 0 : (await stat(join(folder, data))).size;
}

async function assertContent(path: string, bytes: Buffer): Promise<void> {
  assert.ok((await readFile(path)).equals(bytes));
}

describe("a file behind a URL", () => {
  test("is fetched once, then asked for by its tag", async () => {
    serve("/a.tar.gz", content, '"one"');
    const first = await fetchFile("/a.tar.gz");
    await assertContent(first.path, content);
    assert.equal(first.sha256, createHash("sha256").update(content).digest("hex"));
    assert.deepEqual(await fetchFile("/a.tar.gz"), { ...first, isNew: false });
    assert.deepEqual(questions, [{ path: "/a.tar.gz" }, { path: "/a.tar.gz", ifNoneMatch: '"one"' }]);
  });

  test("is fetched anew when it changed, and the old one goes", async () => {
    serve("/a", content, '"one"');
    await fetchFile("/a");
    serve("/a", content.subarray(1), '"two"');
    const second = await fetchFile("/a");
    await assertContent(second.path, content.subarray(1));
    assert.ok(second.isNew);
    assert.match(lines.join("\n"), /\/a gives another file than the last time/);
    assert.equal((await readdir(join(second.path, ".."))).length, 2);
  });

  test("is fetched anew when the kept one is not what it was", async () => {
    serve("/a", content, '"one"');
    const { path } = await fetchFile("/a");
    await writeFile(path, "broken");
    await assertContent((await fetchFile("/a")).path, content);
    assert.equal(questions[1]?.ifNoneMatch, undefined);
  });

  test("is gone on with where it was cut off, each time", async () => {
    serve("/a", content, '"one"', [100_000, 50_000]);
    await assertContent((await fetchFile("/a")).path, content);
    assert.equal(questions.length, 3);
    assert.deepEqual(questions[1], { path: "/a", range: "bytes=100000-", ifRange: '"one"' });
    assert.equal(questions[2]?.range, "bytes=150000-");
  });

  test("is gone on with in the next run", async () => {
    serve("/a", content, '"one"', [100_000]);
    await assert.rejects(fetchFile("/a", { attempts: 1 }), {
      name: "UserError",
      message: /cut off after 100000 bytes/,
    });
    await assertContent((await fetchFile("/a")).path, content);
    assert.equal(questions[1]?.range, "bytes=100000-");
  });

  test("is gone on with after the process was killed", async () => {
    answers.set("/a", (_, response) => {
      response.writeHead(200, { etag: '"one"', "content-length": content.length });
      response.write(content.subarray(0, 100_000));
    });
    const module = join(import.meta.dirname, "../../../lib/download.ts");
    const script = `import { download } from ${JSON.stringify(module)};
      await download(${JSON.stringify(`${base}/a`)}, { folder: ${JSON.stringify(folder)} });`;
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], { stdio: "ignore" });
    const ended = once(child, "exit");
    while ((await partSize()) === 0) await sleep(20);
    child.kill("SIGKILL");
    await ended;
    serve("/a", content, '"one"');
    await assertContent((await fetchFile("/a")).path, content);
    assert.match(questions[1]?.range ?? "", /^bytes=[1-9]\d*-$/);
  });

  test("begins anew when it changed between two parts", async () => {
    serve("/a", content, '"one"', [100_000]);
    await assert.rejects(fetchFile("/a", { attempts: 1 }));
    const other = Buffer.alloc(200_000, "other");
    serve("/a", other, '"two"');
    await assertContent((await fetchFile("/a")).path, other);
  });

  test("begins anew where the server has no tag", async () => {
    let times = 0;
    answers.set("/a", (_, response) => {
      times += 1;
      response.writeHead(200, { "content-length": content.length });
      if (times > 1) return response.end(content);
      response.write(content.subarray(0, 1000), () => setTimeout(() => response.destroy(), 20));
    });
    await assertContent((await fetchFile("/a")).path, content);
    assert.equal(questions[1]?.range, undefined);
  });

  test("may be behind five redirects", async () => {
    for (let i = 0; i < 5; i++) {
      answers.set(`/r${i}`, (_, response) => response.writeHead(302, { location: i < 4 ? `r${i + 1}` : "/a" }).end());
    }
    serve("/a", content, '"one"');
    await assertContent((await fetchFile("/r0")).path, content);
  });

  test("is used as kept when the server is not there or has trouble, with a warning", async () => {
    serve("/a", content, '"one"');
    const { path } = await fetchFile("/a");
    answers.set("/a", (_, response) => response.writeHead(503).end());
    assert.equal((await fetchFile("/a", { attempts: 2 })).path, path);
    assert.match(lines.join("\n"), /warning: .*\/a: the server answers 503.*The file of the last time is used/);
  });

  test("survives trouble that passes", async () => {
    let times = 0;
    answers.set("/a", (_, response) => {
      times += 1;
      if (times < 3) response.writeHead(500).end();
      else response.end(content);
    });
    await assertContent((await fetchFile("/a")).path, content);
  });
});

describe("a URL is refused", () => {
  const refusals: [what: string, answer: Answer | undefined, message: RegExp, limits?: Partial<DownloadLimits>][] = [
    ["when nothing is there", undefined, /^http:\/\/127\.0\.0\.1:\d+\/x: the server answers 404 Not Found\. Check/],
    [
      "when it redirects in a circle",
      (_, response) => response.writeHead(301, { location: "/x" }).end(),
      /more than 5 redirects/,
    ],
    [
      "when it redirects to something else than the web",
      (_, response) => response.writeHead(302, { location: "file:///etc/passwd" }).end(),
      /redirects to where chillbox does not follow: file:/,
    ],
    [
      "when it is said to be too big",
      (_, response) => response.writeHead(200, { "content-length": 2000 }).write("x"),
      /bigger than the 1000 bytes allowed/,
      { bytes: 1000 },
    ],
    [
      "when it turns out to be too big",
      (_, response) => {
        response.writeHead(200);
        for (let i = 0; i < 20; i++) response.write("x".repeat(100));
        response.end();
      },
      /bigger than the 1000 bytes allowed/,
      { bytes: 1000 },
    ],
    ["when no answer comes", () => {}, /nothing came for 0\.2 s\. Check the address and the network/, { idle: 200 }],
    [
      "when its content stops coming",
      (_, response) => response.writeHead(200, { "content-length": 1000 }).write("x"),
      /cut off after 1 bytes/,
      { idle: 200 },
    ],
    [
      "when it takes too long",
      (_, response) => {
        response.writeHead(200, { "content-length": 100_000 });
        const timer = setInterval(() => response.write("x"), 50);
        response.on("close", () => clearInterval(timer));
      },
      /it took more than 0\.5 s/,
      { total: 500 },
    ],
    ["when it asks for 304 unasked", (_, response) => response.writeHead(304).end(), /304 without being asked/],
  ];
  for (const [what, answer, message, limits] of refusals) {
    test(`${what}, and nothing is left`, async () => {
      if (answer) answers.set("/x", answer);
      const secret = "/x?signature=secret";
      await assert.rejects(fetchFile(secret, { attempts: 1, ...limits }), (error: Error) => {
        assert.equal(error.name, "UserError");
        assert.match(error.message, message);
        assert.doesNotMatch(error.message, /secret/);
        return true;
      });
      await assert.rejects(readdir(folder), { code: "ENOENT" });
    });
  }

  test("when nobody listens, or it is none", async () => {
    const refused = (address: string) => download(address, { folder, limits: { attempts: 2 } });
    await assert.rejects(refused("http://127.0.0.1:1/x"), { name: "UserError", message: /ECONNREFUSED.*Check/ });
    await assert.rejects(refused("http://"), { name: "UserError", message: /is not a URL/ });
  });
});

describe("a release by URL", () => {
  const site = {
    slug: "shop",
    path: join(parent, "shop.site.json"),
    env: [],
    services: [],
    workers: [],
    release: `${base}/shop.tar.gz`,
  } as unknown as SiteFile;
  const makefile = `
all:
	mkdir -p dist/a/shop/nginx/templates dist/i/shop
	cp page.html dist/a/shop/nginx/templates/shop.nginx.conf.template
	tar -C dist/a -czf dist/artifact.tar.gz shop
	tar -C dist/i -czf dist/immutable.tar.gz shop
inspect.VERSION:
	@cat VERSION
`;

  async function pack(version: string, page: string): Promise<Buffer> {
    const source = join(parent, "release");
    await mkdir(source, { recursive: true });
    for (const [name, text] of Object.entries({ Makefile: makefile, VERSION: version, "page.html": page })) {
      await writeFile(join(source, name), text);
    }
    execFileSync("tar", ["-C", parent, "-czf", join(parent, "shop.tar.gz"), "release"]);
    return readFile(join(parent, "shop.tar.gz"));
  }
  const build = () => buildRelease(site, { artifactsFolder: join(folder, "artifacts") });

  test("is built once, and a change needs a new version", async () => {
    serve("/shop.tar.gz", await pack("1.0.0", "one"), '"1"');
    const release = await build();
    assert.equal(release.version, "1.0.0");
    assert.deepEqual(await build(), release);
    serve("/shop.tar.gz", await pack("1.0.0", "two"), '"2"');
    await assert.rejects(build(), { name: "UserError", message: /version 1\.0\.0 is built already.*\/shop\.tar\.gz/ });
    serve("/shop.tar.gz", await pack("1.1.0", "two"), '"3"');
    assert.equal((await build()).version, "1.1.0");
  });

  test("that is no archive is named by its URL and not kept", async () => {
    serve("/shop.tar.gz", Buffer.from("<p>Not found"), '"1"');
    await assert.rejects(build(), {
      name: "UserError",
      message: /^\S*shop\.site\.json: "release": http:\S*\/shop\.tar\.gz is not a whole tar archive/,
    });
    serve("/shop.tar.gz", await pack("1.0.0", "one"), '"1"');
    assert.equal((await build()).version, "1.0.0");
  });
});
