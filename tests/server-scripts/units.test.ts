import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "./server.ts";

/** One server for all tests of this file, in their order: workers, chill, and what gunicorn runs. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-units-"));

before(
  async () => {
    await server.setUp();
  },
  { timeout: 300_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

type Files = Readonly<Record<string, string>>;
type Service = Readonly<Record<string, unknown>>;

/** A release of a site with one service, called after its kind, and these files in the service's folder. */
async function release(slug: string, version: string, service: Service, files: Files): Promise<unknown> {
  const site = join(folder, slug);
  rmSync(site, { recursive: true, force: true });
  const name = String(service.name);
  for (const [path, text] of Object.entries({ "nginx/root/index.html": "page\n", ...inFolder(name, files) })) {
    mkdirSync(dirname(join(site, path)), { recursive: true });
    writeFileSync(join(site, path), text, { mode: text.startsWith("#!") ? 0o755 : 0o644 });
  }
  const location =
    service.freeze === true
      ? `root /usr/local/src/${slug}/${name}/frozen;`
      : `proxy_pass http://127.0.0.1:${service.port ?? 9};`;
  const nginx = `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name ${slug}.test;
  root /srv/${slug}/root;
  location /${service.freeze === true ? "" : "api/"} { ${location} }
}
`;
  const services = [{ handler: name, environment: {}, ...service }];
  return server.manifest(slug, site, { version, services, nginx, watchSeconds: 1 });
}

function inFolder(name: string, files: Files): Files {
  return Object.fromEntries(Object.entries(files).map(([path, text]) => [`${name}/${path}`, text]));
}

async function install(manifest: unknown): Promise<void> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

async function refused(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 1, `${said.out}${said.errors}`);
  return said.errors;
}

async function get(host: string, path = "/api/"): Promise<string> {
  const url = `http://${server.host.address}${path}`;
  return (await server.run(["curl", "--silent", "--max-time", "5", "--header", `Host: ${host}`, url])).out.trim();
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

/** Asks all the time, by four visitors, while something is done. @returns the different answers; a failed request fails the test */
async function visited(host: string, action: () => Promise<void>): Promise<string[]> {
  const stop = join(folder, "stop");
  rmSync(stop, { force: true });
  const ask = `curl --silent --fail --max-time 20 --header "Host: ${host}" "http://${server.host.address}/api/?[1-20]"`;
  const loop = ["sh", "-c", `while [ ! -e ${stop} ]; do ${ask} || exit 1; done`];
  const visitors = [1, 2, 3, 4].map(() => server.run(loop));
  try {
    await sleep(300);
    await action();
    await sleep(300);
  } finally {
    writeFileSync(stop, "");
  }
  const said = await Promise.all(visitors);
  for (const { code, out } of said) assert.equal(code, 0, `a request failed after ${out.slice(-100)}`);
  return [...new Set(said.flatMap(({ out }) => out.trim().split("\n")))].sort();
}

const worker = { name: "mail", lang: "python-worker", runCommand: "./work 'two words'", count: 2, niceness: 5 };
/** Says what it is and how often it was asked to end, which takes it a second; many take the second time as an order to stop at once. */
const work = (word: string) => `#!/bin/sh
say() { echo "$1 ${word} $CHILLBOX_WORKER " >>"$HOME/said"; }
trap 'asked="$asked."; sleep 1; say "end$asked"; exit 0' TERM
say "begin $#"
while :; do sleep 0.1; done
`;

test("copies of a worker run with their numbers, and end what they do before the next ones start", {
  timeout: 60_000,
}, async () => {
  const files = (word: string) => ({ work: work(word), "requirements.txt": "" });
  await install(await release("jobs", "1.0.0", worker, files("one")));
  assert.equal(await root("ls /run/chillbox/scan | grep ^jobs | sed s/@.*// | xargs"), "jobs.mail.1 jobs.mail.2");
  const pids = "s6-svstat -o pid /run/chillbox/scan/jobs.mail.1@*";
  assert.equal(await root(`stat -c %U /proc/$(${pids})`), "jobs");
  const niceness = `awk '{ n[NR] = $19 } END { print n[2] - n[1] }' /proc/1/stat /proc/$(${pids})/stat`;
  assert.equal(await root(niceness), "5");
  assert.match(await root(`tr '\\0' '|' </proc/$(${pids})/environ`), /\|HOME=\/var\/lib\/jobs\/mail\|/);

  const before = Date.now();
  await install(await release("jobs", "1.0.1", worker, files("two")));
  assert.ok(Date.now() - before < 20_000);
  const said = (await root("cat /var/lib/jobs/mail/said")).split("\n").map((line) => line.trim());
  assert.deepEqual(said.slice(0, 2).sort(), ["begin 1 one 1", "begin 1 one 2"]);
  assert.deepEqual(said.slice(2, 4).sort(), ["end. one 1", "end. one 2"]);
  assert.deepEqual(said.slice(4).sort(), ["begin 1 two 1", "begin 1 two 2"]);
});

test("a worker that dies at once is refused, and the old copies run on", { timeout: 60_000 }, async () => {
  const files = { work: "#!/bin/sh\necho no such queue\nexit 3\n", "requirements.txt": "" };
  const began = Date.now();
  const errors = await refused(await release("jobs", "1.0.2", worker, files));
  // Not the 30 s that a candidate may take.
  assert.ok(Date.now() - began < 20_000, `${Date.now() - began} ms`);
  assert.match(errors, /service mail\.1 of jobs 1\.0\.2\+\w+ did not get ready, 1\.0\.1\+\w+ stays in use/);
  assert.match(errors, /mail: .*no such queue/);
  assert.equal(await root("ls /run/chillbox/scan | grep -c ^jobs.mail.*1.0.1"), "2");
  assert.match(await root("tail -n 1 /var/lib/jobs/mail/said"), /^begin 1 two [12]/);
});

test("a worker's command may be a shell's, whose processes end as asked", { timeout: 60_000 }, async () => {
  const runCommand = 'QUEUE=a; echo "$QUEUE$CHILLBOX_WORKER" >"$HOME/queue" && ./work x | cat';
  const shell = { ...worker, count: 1, runCommand };
  await install(await release("jobs", "1.0.3", shell, { work: work("shell"), "requirements.txt": "" }));
  assert.equal(await root("cat /var/lib/jobs/mail/queue"), "a1");
  await install(await release("jobs", "1.0.4", { ...worker, count: 0 }, { work: work("none") }));
  assert.match(await root("tail -n 1 /var/lib/jobs/mail/said"), /^end\. shell 1/);
  assert.equal(await root("pgrep -u jobs | wc -l"), "0");
});

const python = { name: "api", lang: "python", host: "127.0.0.1", workers: 1 };
/** A WSGI application that answers with a word, and its health path as this Python expression says. */
const wsgi = (word: string, health = '"200 OK"', delay = "0") => `
import time
def create_app():
    def application(environ, start_response):
        healthy = environ["PATH_INFO"] == "/up"
        if healthy:
            time.sleep(${delay})
        start_response(${health} if healthy else "200 OK", [("Content-Type", "text/plain")])
        return [b"${word}\\n"]
    return application
`;

test("a release whose health check fails or hangs is refused, and the old one answers meanwhile", {
  timeout: 120_000,
}, async () => {
  const health = { path: "/up", status: "204-204", timeoutSeconds: 3 };
  const service = { ...python, port: 8201, health };
  const make = (version: string, text: string) =>
    release("web", version, service, { "web_api/__init__.py": "", "web_api/app.py": text });
  await install(await make("1.0.0", wsgi("one", '"204 No Content"')));
  const answers = await visited("web.test", async () => {
    const wrong = await refused(await make("1.0.1", wsgi("two", '"200 OK"')));
    assert.match(wrong, /service api of web 1\.0\.1\+\w+ did not get ready/);
    assert.match(wrong, /the health check failed: \/up answered 200 instead of 204/);
    assert.match(await refused(await make("1.0.2", wsgi("two", '"500 Oh"'))), /\/up answered 500/);
    const began = Date.now();
    const hanging = await refused(await make("1.0.3", wsgi("two", '"204 No Content"', "100")));
    assert.match(hanging, /\/up gave no answer within 3 s/);
    assert.ok(Date.now() - began < 9_000, `${Date.now() - began} ms`);
    const importing = await refused(await make("1.0.4", `import time\ntime.sleep(100)\n${wsgi("two")}`));
    assert.match(importing, /did not get ready/);
    assert.ok(Date.now() - began < 18_000, `${Date.now() - began} ms`);
  });
  assert.deepEqual(answers, ["one"]);
});

test("a site's own gunicorn.conf.py may have threads, which lose no request in a switch", {
  timeout: 60_000,
}, async () => {
  const service = { ...python, port: 8202, workers: 2 };
  const make = (word: string, version: string) =>
    release("threads", version, service, {
      "threads_api/__init__.py": "",
      "threads_api/app.py": wsgi(word),
      "gunicorn.conf.py": "threads = 4\nkeepalive = 5\n",
    });
  await install(await make("one", "1.0.0"));
  const answers = await visited("threads.test", async () => {
    await install(await make("two", "1.0.1"));
    await install(await make("three", "1.0.2"));
  });
  assert.deepEqual(answers, ["one", "three", "two"]);
  assert.match(await root("cat /var/log/threads-api/current"), /Using worker: gthread/);
});

test("the server chooses how many workers a service has, between its bounds", { timeout: 60_000 }, async () => {
  const service = { ...python, port: 8203, workers: 0, workersMinimum: 1, workersMaximum: 2 };
  const files = { "many_api/__init__.py": "", "many_api/app.py": wsgi("many") };
  await install(await release("many", "1.0.0", service, files));
  assert.equal(await root("pgrep -P $(s6-svstat -o pid /run/chillbox/scan/many.api@*) | wc -l"), "2");
});

/** An ASGI application that is healthy only after its lifespan began, and answers after a moment. */
const asgi = (word: string, status = 200) => `
import asyncio
def create_app():
    state = {}
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            state["began"] = True
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await asyncio.sleep(0.01)
        status = ${status} if scope["path"] == "/up" and state else 200 if scope["path"] != "/up" else 503
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"${word}\\n"})
    return application
`;

test("an ASGI site is asked for its health, and switches without a failed request", { timeout: 90_000 }, async () => {
  const health = { path: "/up", status: "200-299", timeoutSeconds: 10 };
  const service = { ...python, port: 8204, workerClass: "uvicorn.workers.UvicornWorker", health };
  const make = (version: string, text: string) =>
    release("live", version, service, { "live_api/__init__.py": "", "live_api/app.py": text });
  await install(await make("1.0.0", asgi("one")));
  const answers = await visited("live.test", async () => {
    assert.match(await refused(await make("1.0.1", asgi("bad", 500))), /\/up answered 500 instead of 200-299/);
    await install(await make("1.0.2", asgi("two")));
    await install(await make("1.0.3", asgi("three")));
  });
  assert.deepEqual(answers, ["one", "three", "two"]);
});

const chill = { name: "page", lang: "chill", freeze: false };
const pages = (word: string): Files => ({
  "site.cfg": 'from os import getenv\nTHEME_TEMPLATE_FOLDER = "templates"\nCHILL_DATABASE_URI = "db"\n',
  "chill-data.yaml": `--- !ChillNode\nname: home\nroute: /\ntemplate: home.html\nvalue:\n  word: ${word}\n`,
  "chill-more.yaml": `--- !ChillNode\nname: api\nroute: /api/\ntemplate: home.html\nvalue:\n  word: ${word}\n`,
  // The template engine takes one line break away.
  "templates/home.html": "{{ word }}\n\n",
});

test("chill is frozen into files that nginx serves and the site cannot change", { timeout: 60_000 }, async () => {
  await install(await release("ice", "1.0.0", { ...chill, freeze: true }, pages("cold")));
  assert.equal(await get("ice.test", "/"), "cold");
  assert.equal(await get("ice.test"), "cold");
  assert.match(await get("ice.test", "/site.cfg"), /404 Not Found/);
  assert.equal(await root("ls /run/chillbox/scan | grep -c ^ice || true"), "0");
  assert.equal(await root("stat -c %a:%U:%G /usr/local/src/ice/page/frozen"), "750:root:nginx");
  const broken = { ...pages("warm"), "templates/home.html": "{% broken" };
  const errors = await refused(await release("ice", "1.0.1", { ...chill, freeze: true }, broken));
  assert.match(errors, /ice's service page: chill freeze failed/);
  assert.match(errors, /TemplateSyntaxError|broken/);
  assert.equal(await get("ice.test", "/"), "cold");
});

test("chill serves, and requests wait while the next one takes its place", { timeout: 90_000 }, async () => {
  const service = { ...chill, port: 8205, environment: { CHILL_HOST: "localhost", CHILL_PORT: "8205" } };
  await install(await release("llama", "1.0.0", service, pages("one")));
  const answers = await visited("llama.test", async () => {
    await install(await release("llama", "1.0.1", service, pages("two")));
    const broken = { ...pages("three"), "chill-data.yaml": "--- !ChillNode\nname: home\ntemplate: none.html\n" };
    const errors = await refused(await release("llama", "1.0.2", service, broken));
    assert.match(errors, /service page of llama 1\.0\.2\+\w+ did not get ready, 1\.0\.1\+\w+ stays in use/);
  });
  assert.deepEqual(answers, ["one", "two"]);
  assert.equal(await get("llama.test"), "two");
});
