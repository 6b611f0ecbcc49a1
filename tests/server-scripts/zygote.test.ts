import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { carriedWheels, requirementsFile } from "../../lib/wheels.ts";
import { TestServer } from "./server.ts";

/** Services that are forked from one process, on one server. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-zygote-"));
const repository = resolve(import.meta.dirname, "../..");
const shared = ["blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"];
let wheels = "";

before(
  async () => {
    await server.boot();
    const enrolled = await server.playbook("enrol");
    assert.equal(enrolled.code, 0, enrolled.errors);
    const { python, platforms } = JSON.parse(enrolled.out);
    wheels = (await carriedWheels({ repository, server: { python, platforms } })).chill;
    const configured = await server.playbook("configure");
    assert.equal(configured.code, 0, configured.errors);
  },
  { timeout: 240_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A site whose service "api" is a Flask application that brings Flask as chillbox carries it, and runs `code` when it is asked for /do. */
function flaskSite(
  slug: string,
  word: string,
  changes: { code?: string; first?: string; settings?: string } = {},
): string {
  const site = join(folder, slug);
  rmSync(site, { recursive: true, force: true });
  const api = join(site, "api");
  mkdirSync(join(api, "dep"), { recursive: true });
  mkdirSync(join(api, `${slug}_api`));
  for (const wheel of readdirSync(wheels)) {
    if (shared.includes(wheel.split("-")[0] ?? "")) cpSync(join(wheels, wheel), join(api, "dep", wheel));
  }
  writeFileSync(join(api, "requirements.txt"), `--find-links ./dep\n${pinned()}`);
  writeFileSync(join(api, `${slug}_api/__init__.py`), "");
  writeFileSync(join(api, `${slug}_api/app.py`), application(word, changes));
  if (changes.settings) writeFileSync(join(api, "gunicorn.conf.py"), changes.settings);
  return site;
}

/** Their blocks, with hashes, out of the list of what chillbox carries. */
function pinned(): string {
  const blocks = readFileSync(join(repository, requirementsFile("chill")), "utf8").split(/\n(?=\S)/);
  return blocks.filter((block) => shared.includes(block.split("==")[0] ?? "")).join("\n");
}

function application(word: string, { code = "''", first = "" }: { code?: string; first?: string }): string {
  return `import json, os, socket, sys
from flask import Flask
${first}
def create_app():
    app = Flask(__name__)
    @app.get("/api/")
    def index():
        return "${word}"
    @app.get("/api/do")
    def do():
        return json.dumps(${code})
    return app
`;
}

async function manifest(slug: string, port: number, site: string, changes: Record<string, unknown> = {}) {
  const service = {
    name: "api",
    lang: "python",
    handler: "api",
    host: "127.0.0.1",
    port,
    workers: 1,
    environment: { WORD: slug },
  };
  return server.manifest(slug, site, {
    services: [{ ...service, ...changes }],
    nginx: `server { include /etc/nginx/conf.d/${slug}.ssl_cert.include; server_name ${slug}.test; location / { proxy_pass http://127.0.0.1:${port}; } }\n`,
    watchSeconds: 0,
  });
}

async function install(made: unknown): Promise<void> {
  const said = await server.ssh("doas chillbox-site install", made);
  assert.equal(said.code, 0, said.errors);
}

async function get(slug: string, path = "/api/"): Promise<string> {
  const url = `http://${server.host.address}${path}`;
  return (await server.run(["curl", "--silent", "--max-time", "10", "--header", `Host: ${slug}.test`, url])).out.trim();
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

const zygote = "$(s6-svstat -o pid /run/chillbox/scan/zygote@*)";
/** Lines "pid user" of what the zygote forked. */
const forked = () => root(`ps -o pid,ppid,user | awk -v parent=${zygote} '$2 == parent { print $3 }' | sort | xargs`);

async function eventually(check: () => Promise<boolean>, seconds = 20): Promise<void> {
  const until = Date.now() + seconds * 1000;
  while (!(await check().catch(() => false))) {
    assert.ok(Date.now() < until, `not within ${seconds} s`);
    await sleep(200);
  }
}

test("sites with the packages that chillbox carries are forked from the zygote", { timeout: 120_000 }, async () => {
  const code = `[os.getuid(), os.getcwd(), sys.prefix, sorted(os.environ), open("/proc/self/status").read(), sorted(os.listdir("/proc/self/fd"))]`;
  await install(await manifest("one", 8201, flaskSite("one", "first", { code })));
  await install(await manifest("two", 8202, flaskSite("two", "second")));
  assert.equal(await get("one"), "first");
  assert.equal(await get("two"), "second");
  assert.equal(await forked(), "one two");
});

test("a forked service has the site's user, environment and virtual environment, and nothing of the zygote's", async () => {
  const [uid, cwd, prefix, names, status, open] = JSON.parse(await get("one", "/api/do"));
  assert.equal(String(uid), await root("id -u one"));
  assert.match(cwd, /^\/var\/lib\/chillbox\/sites\/one\/releases\/[^/]+\/app\/api$/);
  assert.match(prefix, /\/venv\/api$/);
  assert.deepEqual(names, ["HOME", "HOST", "LANG", "PATH", "PORT", "PYTHONUNBUFFERED", "WORD"]);
  assert.match(
    status,
    new RegExp(`Uid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}\\nGid:\\t${uid}\\t${uid}\\t${uid}\\t${uid}\\n`),
  );
  assert.match(status, new RegExp(`Groups:\\t${uid} \\n`));
  assert.match(status, /CapPrm:\t0+\nCapEff:\t0+\n/);
  assert.match(status, /NoNewPrivs:\t1\n/);
  // The log twice, /dev/null, gunicorn's heartbeat, its pipe, the socket, the visitor, and the folder that is listed.
  assert.ok(open.length <= 9, open.join(" "));
});

test("a forked service reaches neither the zygote nor another one", { timeout: 60_000 }, async () => {
  const attacks = `[attack(what) for what in ${JSON.stringify(["socket", "mem zygote", "environ zygote", "mem two", "environ two", "kill two", "kill zygote", "ptrace two"])}]`;
  // It could not find them by itself: the processes of others are hidden.
  const first = `
import ctypes
pids = {"zygote": ${await root(`echo ${zygote}`)}, "two": ${await root("pgrep -u two -f zygote.py")}}
def attack(what):
    try:
        kind, *name = what.split()
        if kind == "socket":
            socket.socket(socket.AF_UNIX).connect("/run/chillbox/zygote/x/socket")
        elif kind == "kill":
            os.kill(pids[name[0]], 0)
        elif kind == "ptrace":
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.ptrace(16, pids[name[0]], 0, 0) != 0:
                raise OSError(ctypes.get_errno(), "ptrace")
        else:
            open(f"/proc/{pids[name[0]]}/{kind}", "rb").read(1)
        return what
    except (PermissionError, FileNotFoundError):
        return "denied"
`;
  await install(await manifest("one", 8201, flaskSite("one", "attacker", { code: attacks, first })));
  assert.deepEqual(JSON.parse(await get("one", "/api/do")), Array(8).fill("denied"));
});

test("a service with settings of its own, more workers or other packages runs on its own", {
  timeout: 120_000,
}, async () => {
  const settings = flaskSite("mine", "mine", { settings: "timeout = 20\n" });
  await install(await manifest("mine", 8203, settings));
  await install(await manifest("many", 8204, flaskSite("many", "many"), { workers: 2 }));
  const other = flaskSite("other", "other");
  // Another build of the same version: what the zygote has loaded is not what this site brought.
  writeFileSync(join(other, "api/setup.py"), SETUP);
  mkdirSync(join(other, "api/itsdangerous"));
  writeFileSync(join(other, "api/itsdangerous/__init__.py"), "OTHER = True\n");
  for (const wheel of readdirSync(join(other, "api/dep")))
    if (wheel.startsWith("itsdangerous")) rmSync(join(other, "api/dep", wheel));
  const needed = pinned()
    .split(/\n(?=\S)/)
    .filter((block) => !block.startsWith("itsdangerous") && !block.startsWith("flask"));
  writeFileSync(join(other, "api/requirements.txt"), `--find-links ./dep\n${needed.join("\n")}`);
  writeFileSync(join(other, "api/other_api/app.py"), PLAIN);
  await install(await manifest("other", 8205, other));
  assert.equal(await get("mine"), "mine");
  assert.equal(await get("many"), "many");
  assert.equal(await get("other"), "plain");
  assert.equal(await forked(), "one two");
});

test("no visitor of a forked service is lost in a switch", { timeout: 120_000 }, async () => {
  const stop = join(folder, "stop");
  const ask = `curl --silent --fail --max-time 10 --header "Host: two.test" "http://${server.host.address}/api/?[1-40]"`;
  const visitors = server.run(["sh", "-c", `while [ ! -e ${stop} ]; do ${ask} || exit 1; done`]);
  for (const word of ["second 2", "second 3", "second 4"])
    await install(await manifest("two", 8202, flaskSite("two", word)));
  writeFileSync(stop, "");
  const { code, out } = await visitors;
  assert.equal(code, 0, "a request failed");
  assert.ok(out.includes("second 4"), "nobody asked");
  assert.equal(await forked(), "one two");
});

test("a forked release that does not start is refused, and says why", { timeout: 60_000 }, async () => {
  const broken = flaskSite("two", "broken", { first: 'raise ValueError("no such luck")' });
  const said = await server.ssh("doas chillbox-site install", await manifest("two", 8202, broken));
  assert.equal(said.code, 1);
  assert.match(said.errors, /ValueError: no such luck/);
  assert.equal(await get("two"), "second 4");
});

test("visitors who go before the answer end no forked service", { timeout: 60_000 }, async () => {
  const pid = () => root("pgrep -u two -f zygote.py");
  const before = await pid();
  await root(`python3 -c '
import socket
for _ in range(50):
    with socket.create_connection(("127.0.0.1", 8202)) as visitor:
        visitor.sendall(b"GET /api/ HTTP/1.1\\r\\nHost: two.test\\r\\n\\r\\n")'`);
  assert.equal(await get("two"), "second 4");
  assert.equal(await pid(), before);
});

test("a forked service that is killed comes back, and all do when the zygote is", { timeout: 60_000 }, async () => {
  await root(`kill -KILL $(ps -o pid,ppid,user | awk -v parent=${zygote} '$2 == parent && $3 == "one" { print $1 }')`);
  await eventually(async () => (await get("one")) === "attacker");
  await root(`kill -KILL ${zygote}`);
  await eventually(async () => (await get("one")) === "attacker" && (await get("two")) === "second 4");
  await eventually(async () => (await forked()) === "one two");
});

const SETUP = `from setuptools import setup
setup(name="itsdangerous", version="2.2.0", packages=["itsdangerous", "other_api"])
`;
const PLAIN = `import itsdangerous
def create_app():
    assert itsdangerous.OTHER
    def application(environ, start_response):
        start_response("200 OK", [])
        return [b"plain"]
    return application
`;
