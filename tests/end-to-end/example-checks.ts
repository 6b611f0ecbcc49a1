import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { get, secureAddress, ask as send } from "./get.ts";
import { type ProjectCopy, patience } from "./project-copy.ts";

/** What is asked of the example sites once they are deployed. */
export interface ExampleCheck {
  /** The site's slug. */
  readonly site: string;
  /** What holds: a sentence whose subject is the site. */
  readonly what: string;
  check(stack: ExampleStack): Promise<void>;
}

/** Where the example sites are deployed. */
export interface ExampleStack {
  /** The address of a page, through the gateway. */
  at(domain: string, path: string): string;
  /** Addresses that releases were fetched from. */
  readonly asked: readonly string[];
  /** Hash of the files of an immutable service, as the site's release was built. */
  hashOf(slug: string): Promise<string>;
}

/** The example sites in a copy of the project. */
export function exampleStack(copy: ProjectCopy, asked: readonly string[]): ExampleStack {
  const port = copy.settings.ports.gateway;
  return {
    asked,
    at: (domain, path) => `http://${domain}.localhost:${port}${path}`,
    async hashOf(slug) {
      const { output } = await copy.run("sh", ["-c", `cat .chillbox/artifacts/${slug}/*/release.json`]);
      return /"hash": "([0-9a-f]{32})"/.exec(output)?.[1] ?? "";
    },
  };
}

type Json = Record<string, unknown>;

/** In an order in which cron, which works once a minute, comes last. */
export const exampleChecks: readonly ExampleCheck[] = [
  {
    site: "notes",
    what: "keeps what visitors write, and a second service counts it",
    async check(stack) {
      assert.match((await get(stack.at("notes.test", "/"))).text, /<h1>Notes/);
      const before = Number((await ask(stack, "notes.test", "/admin/")).notes);
      await ask(stack, "notes.test", "/api/notes?text=milk", "POST");
      const notes = (await ask(stack, "www.notes.test", "/api/notes")) as unknown as string[];
      assert.deepEqual([notes.length, notes.at(-1)], [before + 1, "milk"]);
      assert.equal((await ask(stack, "notes.test", "/admin/")).notes, before + 1);
    },
  },
  {
    site: "notes",
    what: "runs as the site file says, whatever its own gunicorn.conf.py wants",
    async check(stack) {
      const { pid, folder, niceness, scheme, ...process } = await ask(stack, "notes.test", "/api/process");
      assert.match(String(folder), /\/api$/);
      // The server itself may run with a niceness, which all of it has then.
      assert.equal(Number(niceness) - Number((await ask(stack, "notes.test", "/admin/")).niceness), 4);
      assert.match(String(scheme), /^https?$/);
      assert.deepEqual(process, {
        version: "1.0.0",
        api_url: "http://127.0.0.1:8101",
        workers: 2,
        worker_class: "sync",
        max_requests: 5000,
        max_requests_jitter: 500,
        log_level: "warning",
      });
    },
  },
  {
    site: "notes",
    what: "was asked for its health before it got visitors, and 401 was good",
    async check(stack) {
      assert.equal((await ask(stack, "notes.test", "/admin/")).was_asked, true);
    },
  },
  {
    site: "notes",
    what: "takes its style from the bucket, under the hash that a command printed",
    async check(stack) {
      const style = /href="(\/immutable\/assets\/[0-9a-f]{32}\/notes\.css)"/.exec(
        (await get(stack.at("notes.test", "/"))).text,
      );
      const answer = await get(stack.at("notes.test", style?.[1] ?? "/nothing"));
      assert.match(answer.text, /max-width: 40rem/);
      assert.match(answer.headers["cache-control"] ?? "", /immutable/);
    },
  },
  {
    site: "live",
    what: "serves slow visitors all at once",
    async check(stack) {
      const started = Date.now();
      const answers = await Promise.all(
        Array.from({ length: 12 }, () => get(stack.at("live.test", "/events/?count=1"))),
      );
      assert.deepEqual(new Set(answers.map(({ text }) => text)), new Set(["data: 1\n\n"]));
      assert.ok(Date.now() - started < 3000, `12 requests of 0.5 s each took ${Date.now() - started} ms`);
    },
  },
  {
    site: "live",
    what: "speaks ASGI, over HTTP and a WebSocket",
    async check(stack) {
      assert.ok(Math.abs(Number((await ask(stack, "live.test", "/clock/now")).seconds) - Date.now() / 1000) < 60);
      assert.match(
        await openSocket(stack.at("live.test", "/clock/ticks")),
        /\{"tick":0\}.*\{"tick":1\}.*\{"tick":2\}/s,
      );
    },
  },
  {
    site: "jobs",
    what: "has a letter written by the RQ worker",
    async check(stack) {
      const { id } = await ask(stack, "jobs.test", "/api/letters?to=Ada", "POST");
      const letter = await until(
        async () => (await ask(stack, "jobs.test", `/api/letters?id=${id}`)).letter as Json | null,
      );
      assert.equal(letter.text, "Dear Ada, this is jobs 1.0.0");
      assert.equal(Number(letter.niceness) - Number((await ask(stack, "jobs.test", "/api/redis")).niceness), 10);
      assert.match(String(letter.folder), /\/letters$/);
    },
  },
  {
    site: "jobs",
    what: "has the work shared by two ARQ workers, each with its number",
    async check(stack) {
      const ticks = async () => (await ask(stack, "jobs.test", "/api/ticks")).by_worker as Record<string, number>;
      const before = await ticks();
      await ask(stack, "jobs.test", "/api/ticks?count=10", "POST");
      const after = await until(async () => {
        const found = await ticks();
        return sum(found) === sum(before) + 10 ? found : null;
      });
      const busy = Object.keys(after).filter((worker) => after[worker] !== before[worker]);
      assert.deepEqual(busy.sort(), ["1", "2"]);
    },
  },
  {
    site: "jobs",
    what: "gets the directives of its Redis but for those that are chillbox's",
    async check(stack) {
      const { niceness, ...redis } = await ask(stack, "jobs.test", "/api/redis");
      assert.deepEqual(redis, {
        maxmemory: 16 * 1024 * 1024,
        policy: "noeviction",
        append_only: true,
        port: 0,
      });
    },
  },
  {
    site: "pages",
    what: "serves the pages that were made when the release was installed",
    async check(stack) {
      const page = await get(stack.at("pages.test", "/"));
      assert.match(page.text, /made <strong>once<\/strong>[\s\S]*Release 1\.0\.0/);
      assert.match((await get(stack.at("pages.test", "/about/"))).text, /<h1>About these pages/);
      const missing = await get(stack.at("pages.test", "/nothing/"));
      assert.equal(missing.status, 404);
      assert.match(missing.text, /no such page/);
      assert.equal((await get(stack.at("pages.test", "/"), "POST")).status, 403);
    },
  },
  {
    site: "pages",
    what: "makes pages when they are asked for",
    async check(stack) {
      const seconds = /<time>(\d+)</.exec((await get(stack.at("pages.test", "/now/"))).text)?.[1];
      assert.ok(Math.abs(Number(seconds) - Date.now() / 1000) < 60, `the page says ${seconds}`);
    },
  },
  {
    site: "pages",
    what: "answers for all five",
    async check(stack) {
      const statuses = async (domain: string) => (await get(stack.at(domain, "/"))).status;
      const domains = ["pages.test", "pages-and-more.test", "blog.pages.test", "www.pages.test", "old.pages.test"];
      assert.deepEqual(await Promise.all(domains.map(statuses)), [200, 200, 200, 301, 301]);
    },
  },
  {
    site: "heritage",
    what: "has all that the older contract promises a service",
    async check(stack) {
      const { environment, data, path } = (await ask(stack, "heritage.test", "/api/some/path")) as {
        environment: Json;
      } & Json;
      assert.equal(path, "/some/path");
      assert.equal(data, true);
      assert.deepEqual(
        Object.entries(environment).filter(([, value]) => value === null || value === ""),
        [],
      );
      assert.equal(environment.HOST, "localhost");
      assert.equal(environment.SERVER_NAME, "heritage.test");
    },
  },
  {
    site: "heritage",
    what: "serves what chill froze and what it makes",
    async check(stack) {
      assert.match((await get(stack.at("heritage.test", "/"))).text, /Heritage, static/);
      assert.match((await get(stack.at("heritage.test", "/dynamic/"))).text, /Heritage, dynamic/);
      assert.match((await get(stack.at("www.heritage.test", "/robots.txt"))).text, /User-agent/);
      assert.equal((await get(stack.at("heritage.test", "/home"))).status, 301);
    },
  },
  {
    site: "heritage",
    what: "proxies to the bucket",
    async check(stack) {
      const hash = await stack.hashOf("heritage");
      const style = await get(stack.at("heritage.test", `/immutable-example/v1/${hash}/page.css`));
      assert.equal(style.text, "body {\n  font-family: serif;\n}\n");
      assert.ok(style.headers["x-proxy-cache"], "its own header is there");
    },
  },
  {
    site: "heritage",
    what: "keeps its worker at work",
    async check(stack) {
      const beats = async () => (await ask(stack, "heritage.test", "/api/")).beats as string[];
      const before = (await beats()).length;
      const found = await until(async () => {
        const all = await beats();
        return all.length > before + 1 ? all : null;
      });
      assert.deepEqual(new Set(found), new Set(["1"]));
    },
  },
  {
    site: "heritage",
    what: "shows its maintenance page for a service whose secrets are not there yet",
    async check(stack) {
      const answer = await get(stack.at("heritage.test", "/mailer/"));
      assert.ok([502, 503].includes(answer.status), String(answer.status));
      assert.match(answer.text, /maintenance/);
    },
  },
  {
    site: "diary",
    what: "has the site file's version, because its Makefile tells none",
    async check(stack) {
      const { version, workers } = await ask(stack, "diary.test", "/api/");
      assert.equal(version, "2.1.0");
      assert.equal(workers, 2, "its number of workers is within its bounds");
      assert.ok(stack.asked.includes("/diary-2.1.0.tar.gz"));
    },
  },
  {
    site: "diary",
    what: "gets a line every minute, as the site's user",
    async check(stack) {
      const line = await until(async () => {
        const { started, lines } = await ask(stack, "diary.test", "/api/");
        const last = (lines as string[]).at(-1) ?? "";
        // One of this release, which crond may have started in the second before the service.
        return Number.parseInt(last, 10) >= Number(started) - 1 ? last : null;
      }, 75);
      assert.match(line, /^\d+ written by diary 2\.1\.0 as diary$/);
    },
  },
];

async function ask(stack: ExampleStack, domain: string, path: string, method = "GET"): Promise<Json> {
  const answer = await get(stack.at(domain, path), method);
  assert.ok(answer.status < 300, `${method} ${domain}${path}: ${answer.status} ${answer.text}`);
  return JSON.parse(answer.text) as Json;
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

/** Asks again and again until there is an answer. */
async function until<T>(look: () => Promise<T | null | undefined>, seconds = 30): Promise<T> {
  for (const end = Date.now() + seconds * patience * 1000; ; await sleep(250)) {
    const found = await look();
    if (found !== null && found !== undefined) return found;
    if (Date.now() > end) throw new Error(`nothing came within ${seconds} s`);
  }
}

/** What a WebSocket sends until it is closed, frames and all. */
function openSocket(address: string): Promise<string> {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const outgoing = send(url, {
      headers: {
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
      },
    });
    outgoing.on("upgrade", (_, socket, head) => {
      let received = head.toString("latin1");
      socket.on("data", (chunk: Buffer) => {
        received += chunk.toString("latin1");
        // The closing frame has no mask and two bytes of reason.
        if (received.includes("\x88\x02")) socket.end();
      });
      socket.on("error", reject);
      socket.on("close", () => resolve(received));
    });
    outgoing.on("response", (answer) => {
      const secure = secureAddress(answer.statusCode, answer.headers, url);
      if (secure) resolve(openSocket(secure));
      else reject(new Error(`${address} answered ${answer.statusCode} and no upgrade`));
      answer.resume();
    });
    outgoing.on("error", reject);
    outgoing.end();
  });
}
