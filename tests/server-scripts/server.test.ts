import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SiteStatus, Status } from "../../cli/status.ts";
import { buildImage } from "../../image/build.ts";
import { sha256 } from "../../lib/archive.ts";
import { sealEnvelope } from "../../lib/envelope.ts";
import { pythonOf } from "../../toolchain/tools/server-wheels.ts";
import { type Said, spaces, TestServer } from "./server.ts";

/** One server for all tests of this file, in their order: made, given sites, attacked, restarted. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-sites-"));
const hello = resolve(import.meta.dirname, "../../sites/hello");

before(() => server.boot(), { timeout: 180_000 });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** The tree of a site with a static page and, with an application's text, the Python service "api". */
function tree(slug: string, page: string, application?: string): string {
  const site = join(folder, slug);
  rmSync(site, { recursive: true, force: true });
  mkdirSync(join(site, "nginx/root"), { recursive: true });
  writeFileSync(join(site, "nginx/root/index.html"), `${page}\n`);
  if (application === undefined) return site;
  cpSync(join(hello, "api"), join(site, "api"), { recursive: true });
  const module = `${slug}_api`;
  cpSync(join(site, "api/hello_api"), join(site, "api", module), { recursive: true });
  if (slug !== "hello") rmSync(join(site, "api/hello_api"), { recursive: true });
  const project = readFileSync(join(site, "api/pyproject.toml"), "utf8").replaceAll("hello_api", module);
  writeFileSync(join(site, "api/pyproject.toml"), project);
  writeFileSync(join(site, "api", module, "app.py"), application);
  return site;
}

/** A WSGI application that answers with a word. */
function answering(word: string, first = ""): string {
  return `${first}
def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"${word}\\n"]
    return application
`;
}

const asgi = `
import packaging
def create_app():
    async def application(scope, receive, send):
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"async, packaging {packaging.__version__}\\n".encode()})
    return application
`;

/** A wheel of one package that knows its version. */
function makeWheel(path: string, name: string, version: string): void {
  const script = `
import sys, zipfile
path, name, version = sys.argv[1:]
info = f"{name}-{version}.dist-info"
with zipfile.ZipFile(path, "w") as wheel:
    wheel.writestr(f"{name}/__init__.py", f"__version__ = '{version}'\\n")
    wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(f"{info}/RECORD", "")
`;
  execFileSync("python3", ["-c", script, path, name, version]);
}

function withService(slug: string, port: number): Record<string, unknown> {
  return {
    services: [
      {
        name: "api",
        lang: "python",
        handler: "api",
        host: "127.0.0.1",
        port,
        workers: 1,
        environment: { WORD: "two\nlines" },
      },
    ],
    nginx: `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name ${slug}.test;
  root /srv/${slug}/root;
  access_log /var/log/nginx/${slug}/access.log;
  location /api/ { proxy_pass http://127.0.0.1:${port}; }
}
`,
    watchSeconds: 1,
  };
}

async function install(manifest: unknown): Promise<Record<string, unknown>> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out);
}

async function refused(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 1, `${said.out}${said.errors}`);
  return said.errors;
}

async function get(host: string, path = "/"): Promise<string> {
  const url = `http://${server.host.address}${path}`;
  return (await server.run(["curl", "--silent", "--max-time", "5", "--header", `Host: ${host}`, url])).out.trim();
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

test("enrol refuses a host that answers with another key, and sends nothing", async () => {
  const foreign = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
  const said = await server.playbook("enrol", { hostKeys: [foreign] });
  assert.equal(said.code, 1);
  assert.match(said.errors.trim().split("\n").at(-1) ?? "", /another host key than the stack knows/);
});

test("enrol refuses an envelope that is not the sealed one, before it is opened", async () => {
  const said = await server.playbook("enrol", {
    input: { envelopeKey: "x", envelopeSha256: "0".repeat(64), purpose: {} },
  });
  assert.equal(said.code, 1);
  assert.match(said.errors, /chillbox-enrol: fatal: the envelope is not the one that was sealed for this server/);
});

test("enrol runs the first boot, makes the keys, and says what the server is", { timeout: 60_000 }, async () => {
  const said = await server.playbook("enrol");
  assert.equal(said.code, 0, said.errors);
  const { hostKey, python, platforms, openssl, changed } = JSON.parse(said.out);
  assert.match(hostKey, /^ssh-ed25519 [A-Za-z0-9+/=]+$/);
  assert.match(python, /^3\.\d+$/);
  assert.match(platforms[0], /^m(any|usl)linux_\d+_\d+_x86_64$/);
  // Set-up has fetched packages for a server that says this.
  const manifest = readFileSync(join(dirname((await buildImage()).path), "manifest.json"), "utf8");
  assert.deepEqual({ python, platforms }, pythonOf(JSON.parse(manifest)));
  assert.match(openssl, /^3\./);
  assert.equal(changed, true);
});

test("enrol again changes nothing and says the same", { timeout: 60_000 }, async () => {
  const before = server.hostKeys.at(-1);
  const said = await server.playbook("enrol");
  assert.equal(said.code, 0, said.errors);
  assert.equal(JSON.parse(said.out).changed, false);
  assert.equal(server.hostKeys.at(-1), before);
});

test("the envelope's key is useless after that: a second envelope is refused, and the first is not run again", {
  timeout: 60_000,
}, async () => {
  const { key, purpose, sha256: first } = server.envelope;
  // What it would do leaves a trace.
  const envelope = sealEnvelope(
    createPublicKey(key).export({ type: "spki", format: "pem" }).toString(),
    purpose,
    "touch /etc/second\n",
  );
  const place = `umask 077; base64 -d >/run/chillbox/envelope.der <<'END'\n${envelope.toString("base64")}\nEND`;
  server.host.ssh(place);
  const said = await server.playbook("enrol", {}, { envelopeSha256: sha256(envelope) });
  assert.equal(said.code, 1);
  assert.match(said.errors, /this server was enrolled with another envelope/);
  // The stack still has the first one's digest: whatever lies there now goes unread.
  const again = await server.playbook("enrol", {}, { envelopeSha256: first });
  assert.equal(JSON.parse(again.out).changed, false);
  assert.equal(server.host.ssh("ls /etc/second /run/chillbox/envelope.der 2>/dev/null || true"), "");
});

test("configure refuses a host key that is not the server's, and leaves it as it was", {
  timeout: 60_000,
}, async () => {
  const said = await server.playbook("configure", {}, { hostKey: server.host.text("provisional.pub") });
  assert.equal(said.code, 1);
  assert.match(said.errors, /chillbox-host-key: fatal: the host key that was sent is not this server's/);
  assert.equal(server.host.ssh("ls /etc/chillbox/host-key | grep -c current || true"), "0");
});

test("configure that is killed at any task leaves what the next run goes on from", { timeout: 120_000 }, async () => {
  const tasks = [
    "Let sshd answer with the server's own key",
    "Forget the provisional host key",
    "Send the server scripts",
    "Install the server scripts",
  ];
  for (const task of tasks) await server.killPlaybook("configure", task);
});

test("configure moves sshd to the server's own key, ends root's login, and starts the services", {
  timeout: 60_000,
}, async () => {
  const said = await server.playbook("configure");
  assert.equal(said.code, 0, said.errors);
  assert.deepEqual(JSON.parse(said.out), { changed: true });
  assert.throws(() => server.host.ssh("true"), /Host key verification failed/);
  writeFileSync(server.host.path("own.pub"), `${server.hostKeys.at(-1)}\n`);
  assert.throws(() => server.host.ssh("true", "own"), /Permission denied/);
  assert.equal(await root("ls /run/chillbox | grep -c host-key || true"), "0");
});

test("configure again changes nothing, and takes away the key that older versions kept", {
  timeout: 60_000,
}, async () => {
  await root("touch /etc/chillbox/spaces.curlrc /etc/chillbox/spaces.endpoint");
  const said = await server.playbook("configure");
  assert.equal(said.code, 0, said.errors);
  assert.deepEqual(JSON.parse(said.out), { changed: false });
  assert.equal(await root("find /etc/chillbox -name 'spaces*'"), "");
});

test("configure that is killed in its last task is ended by the next run", { timeout: 180_000 }, async () => {
  await server.killPlaybook("configure", "Configure ssh, nginx and the tree of services", { sitesKeep: 2 });
  assert.equal((await server.playbook("configure")).code, 0);
  assert.deepEqual(JSON.parse((await server.playbook("configure")).out), { changed: false });
});

test("nginx and its workers are user nginx, with one capability and no new privileges", async () => {
  const status = await root(
    "for pid in $(pidof nginx); do grep -E '^(Uid|CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/$pid/status; done",
  );
  const found = status.match(/^Uid:/gm)?.length ?? 0;
  assert.ok(found >= 2, `a master and a worker at least, not ${found}`);
  assert.doesNotMatch(status, /^Uid:\t0/m);
  assert.equal(status.match(/^NoNewPrivs:\t1$/gm)?.length, found);
  for (const set of ["CapPrm", "CapEff", "CapBnd"])
    assert.equal(status.match(new RegExp(`^${set}:\t0000000000000400$`, "gm"))?.length, found, `${set} in ${status}`);
});

test("nginx cannot lay anything where root writes", async () => {
  const as = (command: string) => `s6-setuidgid nginx sh -c '${command}' 2>&1 || true`;
  assert.match(await root(as("ln -s /etc/shadow /run/chillbox/nginx/generation.conf.new")), /Permission denied/);
  await root("mkdir -p /var/log/nginx/probe");
  assert.match(await root(as("mv /var/log/nginx/probe /var/log/nginx/gone")), /not permitted/);
  await root("rmdir /var/log/nginx/probe");
});

test("a static site is installed, served, and left alone the second time", { timeout: 60_000 }, async () => {
  const manifest = await server.manifest("still", tree("still", "a page"));
  assert.deepEqual((await install(manifest)).result, "installed");
  assert.equal(await get("still.test"), "a page");
  assert.equal(await get("box.test", "/still/version.txt"), "1.0.0");
  assert.match(await get("unknown.test"), /404 Not Found/);
  assert.equal((await install(manifest)).result, "unchanged");
  const packedOtherwise = { ...(manifest.artifact as object), sha256: "1".repeat(64), size: 7 };
  assert.equal((await install({ ...manifest, artifact: packedOtherwise })).result, "unchanged");
  // Written otherwise, since the log keeps the words of this command.
  const pattern = spaces.secretKey.replace("-", "[-]");
  const keeps = await root(
    `find /etc /home /root /run /tmp /usr/local /var -type f -exec grep -l "${pattern}" {} + || true`,
  );
  assert.equal(keeps, "", "the key to download with is kept nowhere");
});

test("a Python site is installed with its own user, environment and folders", { timeout: 60_000 }, async () => {
  const changes = withService("app", 8101);
  const [service] = changes.services as object[];
  // With two workers it runs on its own, so that the kernel shows its environment.
  const own = { ...changes, services: [{ ...service, workers: 2 }] };
  const manifest = await server.manifest("app", tree("app", "static", answering("one")), own);
  const { result, milliseconds } = await install(manifest);
  assert.equal(result, "installed");
  assert.ok(Number(milliseconds) < 20_000, `${milliseconds} ms`);
  assert.equal(await get("app.test", "/api/"), "one");
  assert.equal(await root("stat -c %a:%U /var/lib/app/api /usr/local/src/app/api/."), "700:app\n750:root");
  const pid = await root("s6-svstat -o pid /run/chillbox/scan/app.api@*");
  const environment = await root(`tr '\\0' '|' </proc/${pid}/environ`);
  assert.match(environment, /\|WORD=two\nlines\|/);
  assert.match(environment, /\|PORT=8101\|/);
  assert.doesNotMatch(environment, /SSH|DOAS|secret/);
  assert.equal(await root(`awk '/^Uid/ { print $2 }' /proc/${pid}/status`), await root("id -u app"));
});

test("an ASGI service runs on the uvicorn that chillbox carries, with its own packages first", {
  timeout: 60_000,
}, async () => {
  const site = tree("async", "static", asgi);
  writeFileSync(join(site, "api/requirements.txt"), "packaging==99.0\n");
  mkdirSync(join(site, "api/chillbox-wheels"));
  makeWheel(join(site, "api/chillbox-wheels/packaging-99.0-py3-none-any.whl"), "packaging", "99.0");
  const changes = withService("async", 8102);
  const [service] = changes.services as object[];
  const services = [{ ...service, workerClass: "uvicorn.workers.UvicornWorker" }];
  await install(await server.manifest("async", site, { ...changes, services }));
  assert.equal(await get("async.test", "/api/"), "async, packaging 99.0");
  const venv = "/var/lib/chillbox/sites/app/current/venv/api";
  const seen =
    "import gunicorn, pkg_resources, importlib.util as u; print([n for n in ('uvicorn', 'flask') if u.find_spec(n)])";
  assert.equal(await root(`s6-setuidgid app ${venv}/bin/python -W ignore -c "${seen}"`), "[]");
  // A chill service finds chill with all it needs, and its command.
  const pages = "/var/lib/chillbox/sites/app/venvs/pages";
  await root(
    `cp -R /var/lib/chillbox/sites/app/current/app/nginx /run/pages && chillbox-venv app /run/pages ${pages} chill`,
  );
  const said = await root(
    `s6-setuidgid app ${pages}/bin/chill --version && s6-setuidgid app ${pages}/bin/python -c "import yaml._yaml"`,
  );
  assert.match(said, /^\d+\.\d+\.\d+$/);
  await root(`rm -r /run/pages ${pages}`);
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "async" })).code, 0);
});

test("a new version replaces the old one without a failed request", { timeout: 60_000 }, async () => {
  const stop = server.host.path("stop");
  const visitors = visit("app.test", stop);
  const changed = { ...withService("app", 8101), version: "1.0.1" };
  await install(await server.manifest("app", tree("app", "static", answering("two")), changed));
  writeFileSync(stop, "");
  const { code, out } = await visitors;
  assert.equal(code, 0, "a request failed");
  assert.deepEqual([...new Set(out.trim().split("\n"))], ["one", "two"]);
  assert.equal(await get("app.test", "/api/"), "two");
});

test("a release with another page alone takes the virtual environment of the last one", {
  timeout: 60_000,
}, async () => {
  const changes = { ...withService("app", 8101), version: "1.0.1-page", watchSeconds: 0 };
  await install(await server.manifest("app", tree("app", "other", answering("two")), changes));
  assert.equal(await get("app.test"), "other");
  assert.equal(await root("stat -c %i /var/lib/chillbox/sites/app/releases/*/venv/api/. | sort -u | wc -l"), "2");
  const again = { ...withService("app", 8101), version: "1.0.1", watchSeconds: 0 };
  await install(await server.manifest("app", tree("app", "static", answering("two")), again));
});

test("a release that does not start leaves the old one in use and says what its service said", {
  timeout: 90_000,
}, async () => {
  const broken = { ...withService("app", 8101), version: "1.0.2" };
  const errors = await refused(
    await server.manifest("app", tree("app", "static", answering("three", 'raise ValueError("no such luck")')), broken),
  );
  assert.match(errors, /service api of app 1\.0\.2\+\w+ did not get ready, 1\.0\.1\+\w+ stays in use/);
  assert.match(errors, /ValueError: no such luck/);
  assert.equal(await get("app.test", "/api/"), "two");
  assert.equal(await root("ls /run/chillbox/scan | grep -c ^app"), "1");
});

test("a release that dies once it is in use makes way for the old one", { timeout: 90_000 }, async () => {
  const dying = answering("four", "import os, threading\nthreading.Timer(3, lambda: os.kill(os.getpid(), 9)).start()");
  const manifest = await server.manifest("app", tree("app", "static", dying), {
    ...withService("app", 8101),
    version: "1.0.3",
    watchSeconds: 6,
  });
  assert.match(await refused(manifest), /failed right after it was put to use[\s\S]*went back to 1\.0\.1/);
  assert.equal(await get("app.test", "/api/"), "two");
});

test("a service may take another name and keep its port", { timeout: 60_000 }, async () => {
  const site = tree("app", "static", answering("renamed"));
  renameSync(join(site, "api/app_api"), join(site, "api/app_web"));
  renameSync(join(site, "api"), join(site, "web"));
  const project = readFileSync(join(site, "web/pyproject.toml"), "utf8").replaceAll("app_api", "app_web");
  writeFileSync(join(site, "web/pyproject.toml"), project);
  const changes = withService("app", 8101);
  const [service] = changes.services as object[];
  const services = [{ ...service, name: "web", handler: "web" }];
  await install(await server.manifest("app", site, { ...changes, services, version: "1.1.0", watchSeconds: 0 }));
  assert.equal(await get("app.test", "/api/"), "renamed");
  await install(
    await server.manifest("app", tree("app", "static", answering("two")), { ...changes, version: "1.1.1" }),
  );
  assert.equal(await get("app.test", "/api/"), "two");
});

test("a holder of sockets that lost them costs a moment and no install", { timeout: 60_000 }, async () => {
  const pid = await root("s6-svstat -o pid /run/chillbox/scan/fdholder");
  await root(`kill -KILL ${pid}`);
  await root("until s6-fdholder-list /run/chillbox/fdholder/socket >/dev/null 2>&1; do sleep 0.1; done");
  const changes = { ...withService("app", 8101), version: "1.1.2", watchSeconds: 0 };
  const said = await server.ssh(
    "doas chillbox-site install",
    await server.manifest("app", tree("app", "static", answering("two")), changes),
  );
  assert.equal(said.code, 0, said.errors);
  assert.match(said.errors, /the socket holder has lost app\.:8101/);
  assert.equal(await get("app.test", "/api/"), "two");
});

test("a release that broke after its install was killed makes way for the one before", {
  timeout: 90_000,
}, async () => {
  const old = await root("readlink /var/lib/chillbox/sites/app/current");
  const fragile = 'import os\nif os.path.exists("/var/lib/app/api/broken"): raise ValueError("broken")';
  const changes = { ...withService("app", 8101), version: "1.1.3", watchSeconds: 60 };
  const manifest = await server.manifest("app", tree("app", "static", answering("fragile", fragile)), changes);
  const running = server.ssh("doas chillbox-site install", manifest);
  await eventually(async () => (await root("readlink /var/lib/chillbox/sites/app/current")) !== old, 30);
  await eventually(async () => (await get("app.test", "/api/")) === "fragile");
  await root("pkill -KILL -f '[c]hillbox-site'");
  assert.notEqual((await running).code, 0);
  await root(
    "s6-setuidgid app touch /var/lib/app/api/broken; kill -KILL $(s6-svstat -o pid /run/chillbox/scan/app.api@1.1.3*)",
  );
  assert.match(await refused(manifest), /put to use by a run that did not end[\s\S]*went back to 1\.1\.2/);
  assert.equal(await get("app.test", "/api/"), "two");
  assert.match(await root("tail -n 1 /var/lib/chillbox/sites/app/log"), /1\.1\.2\+\w+\t1\.1\.3\+\w+\ttest\twent back$/);
  await root("rm /var/lib/app/api/broken");
});

test("what a service's environment names never runs as root", { timeout: 90_000 }, async () => {
  const programs = "env nice s6-setuidgid setpriv s6-envdir sh python";
  const lines = "#!/bin/sh\nid -u >>/var/lib/app/api/owned-$(id -u)\nexit 1";
  const make = `for name in ${programs}; do printf "${lines.replaceAll("\n", "\\n")}\\n" >$name; chmod +x $name; done`;
  writeFileSync(
    server.host.path("make"),
    `mkdir -p /var/lib/app/api/bin && cd /var/lib/app/api/bin && ${make.replaceAll("$(", "\\$(")}\n`,
  );
  const made = await server.ssh("doas s6-setuidgid app sh", server.host.text("make"));
  assert.equal(made.code, 0, made.errors);
  const changes = withService("app", 8101);
  const [service] = changes.services as { environment: object }[];
  const manifest = (environment: Record<string, string>) =>
    server.manifest("app", tree("app", "static", answering("evil")), {
      ...changes,
      version: "1.2.0",
      // Two workers have gunicorn run on its own, by all of these programs.
      services: [{ ...service, workers: 2, environment: { ...service?.environment, ...environment } }],
    });
  assert.match(await refused(await manifest({ LD_PRELOAD: "/var/lib/app/api/evil.so" })), /LD_PRELOAD is the loader's/);
  assert.match(await refused(await manifest({ PATH: "/var/lib/app/api/bin:/usr/bin:/bin" })), /did not get ready/);
  const uid = await root("id -u app");
  assert.equal(await root("ls /var/lib/app/api | grep owned"), `owned-${uid}`);
  assert.equal(
    await root(
      "stat -c %U:%a /var/lib/chillbox/sites/app/current/env/api /var/lib/chillbox/sites/app/current/env/api/PORT",
    ),
    "root:750\nroot:640",
  );
  await root("rm -r /var/lib/app/api/owned-* /var/lib/app/api/bin");
  assert.equal(await get("app.test", "/api/"), "two");
});

/** What a command of the server prints, as JSON. */
async function asked<T>(command: string, input: unknown = ""): Promise<T> {
  const said = await server.ssh(command, input);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out) as T;
}

const backManifests: Record<string, unknown>[] = [];

async function rollBack(release?: string): Promise<Record<string, unknown>> {
  return asked("doas chillbox-site rollback", { slug: "back", release, by: "me@laptop", reason: "two\tis wrong" });
}

test("rollback puts the release before back to use, without the network and without a failed request", {
  timeout: 90_000,
}, async () => {
  for (const [version, word] of Object.entries({ "1.0.0": "one", "2.0.0": "two" })) {
    const changes = { ...withService("back", 8103), version, watchSeconds: 0 };
    const manifest = await server.manifest("back", tree("back", "static", answering(word)), changes);
    assert.equal((await install(manifest)).result, "installed");
    backManifests.push(manifest);
  }
  const stop = server.host.path("stop-back");
  const ask = `curl --silent --fail --max-time 10 --header "Host: back.test" "http://${server.host.address}/api/?[1-20]"`;
  const visitors = server.run(["sh", "-c", `while [ ! -e ${stop} ]; do ${ask} || exit 1; done`]);
  await sleep(300);
  const done = await rollBack();
  writeFileSync(stop, "");
  const { code, out } = await visitors;
  assert.equal(code, 0, "a request failed");
  assert.deepEqual([...new Set(out.trim().split("\n"))], ["two", "one"]);
  assert.deepEqual(
    [done.result, done.release, done.from],
    ["rolled back", backManifests[0]?.release, backManifests[1]?.release],
  );
  console.log(`# rollback: ${done.switchMilliseconds} ms until visitors had it, ${done.milliseconds} ms in all`);
  assert.ok(Number(done.switchMilliseconds) < 5_000);
  assert.equal(await root("ls /run/chillbox/scan | grep -c ^back"), "1");
});

test("what was rolled back from stays out until another release is installed", { timeout: 60_000 }, async () => {
  assert.equal((await install(backManifests[1])).result, "unchanged (pinned)");
  assert.equal(await get("back.test", "/api/"), "one");
  const pinned = await siteStatus("back");
  assert.deepEqual(pinned.pin?.from, [backManifests[1]?.release]);
  assert.equal(pinned.pin?.by, "me@laptop");
  const changes = { ...withService("back", 8103), version: "3.0.0", watchSeconds: 0 };
  await install(await server.manifest("back", tree("back", "static", answering("three")), changes));
  assert.equal((await siteStatus("back")).pin, null);
  assert.equal((await install(backManifests[1])).result, "installed");
});

test("a release that is not kept is refused with those that are", async () => {
  const said = await server.ssh("doas chillbox-site rollback", { slug: "back", release: "9.9.9" });
  assert.equal(said.code, 1);
  assert.match(said.errors, /9\.9\.9 is not kept on this server; kept of back: .*2\.0\.0\+\w+ \(in use\)/);
});

test("a rollback that is killed anywhere leaves one release in use, and the next run ends it", {
  timeout: 120_000,
}, async () => {
  let [from, to] = ["two", "three"];
  for (const delay of [50, 200, 400, 600, 900, 1200]) {
    const release = to === "three" ? "3.0.0" : "2.0.0";
    const kill = `(sleep ${delay / 1000}; pkill -KILL -f '[c]hillbox-site') & doas chillbox-site rollback`;
    await server.ssh(`doas sh -c "${kill.replaceAll("$", "\\$")}"`, { slug: "back", release });
    const between = await get("back.test", "/api/");
    assert.ok([from, to].includes(between), `after ${delay} ms: ${between}`);
    assert.match(String((await rollBack(release)).result), /rolled back|unchanged/);
    assert.equal(await get("back.test", "/api/"), to, `after ${delay} ms`);
    assert.equal(await root("ls /run/chillbox/services | grep -c ^back"), "1");
    [from, to] = [to, from];
  }
});

test("the log of deploys tells who, from, to, why and what became of it", async () => {
  const broken = { ...withService("back", 8103), version: "4.0.0", by: "you", reason: "a try" };
  await refused(await server.manifest("back", tree("back", "static", answering("x", "raise ValueError()")), broken));
  const deploys = await asked<Record<string, string>[]>("doas chillbox-site log", { slug: "back" });
  const [one, two] = backManifests.map(({ release }) => String(release));
  const rows = deploys.slice(0, 3).map(({ by, from, to, why, result }) => [by, from, to, why, result]);
  assert.deepEqual(rows, [
    ["test", "-", one, "test", "installed"],
    ["test", one, two, "test", "installed"],
    ["me@laptop", two, one, "two is wrong", "rolled back"],
  ]);
  const last = deploys.at(-1);
  assert.deepEqual([last?.by, last?.why, last?.result], ["you", "a try", "refused"]);
  for (const { when } of deploys) assert.match(String(when), /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
});

test("status tells of the server, its sites, and why a service is down", { timeout: 60_000 }, async () => {
  const { server: facts } = await asked<Status>("doas chillbox-status");
  assert.equal(facts.host, "box");
  assert.equal(facts.serverName, "box.test");
  assert.match(facts.system, /^Alpine Linux/);
  assert.ok(facts.nginx.up && facts.uptimeSeconds >= 0 && facts.uptimeSeconds < 3600);
  for (const { totalBytes, availableBytes } of [facts.memory, facts.disk]) {
    assert.ok(availableBytes > 0 && availableBytes < totalBytes);
  }
  const site = await siteStatus("back");
  assert.deepEqual(
    site.services.map(({ name, up, ready }) => [name, up, ready]),
    [["api", true, true]],
  );
  await root("s6-svc -wD -d /run/chillbox/scan/back.api@*");
  const [down] = (await siteStatus("back")).services;
  assert.deepEqual([down?.up, down?.ready, down?.wanted], [false, false, false]);
  assert.match(String(down?.lastLine), /Shutting down|Worker|Handling/);
  await root("s6-svc -wU -u /run/chillbox/scan/back.api@*");
});

test("logs prints what a service and nginx said", async () => {
  assert.match(await root("chillbox-logs -n 5 back api"), /gunicorn|Booting|Listening|worker/i);
  assert.match(await root("chillbox-logs back nginx"), /GET \/api\/.* 200 /);
  const followed = server.ssh("(sleep 2) | doas chillbox-logs -f -n 1 back nginx");
  await sleep(700);
  await get("back.test", "/api/?followed");
  assert.match((await followed).out, /GET \/api\/\?followed/);
  await server.ssh("doas chillbox-site remove", { slug: "back" });
});

async function siteStatus(slug: string): Promise<SiteStatus> {
  const { sites } = await asked<Status>("doas chillbox-status");
  const site = sites.find((each) => each.slug === slug);
  assert.ok(site, `no site ${slug}`);
  return site;
}

test("an archive with a hostile entry is refused before anything of it is written", { timeout: 60_000 }, async () => {
  const site = tree("evil", "page");
  const manifest = await server.manifest("evil", site);
  const packed = join(folder, "evil.tar");
  const names = ["evil/../../../../etc/chillbox/owned", "/etc/chillbox/owned"];
  for (const name of names) {
    const script = `import sys, tarfile, io
with tarfile.open(sys.argv[1], "w") as tar:
    good = tarfile.TarInfo("evil/nginx/root/index.html"); tar.addfile(good)
    bad = tarfile.TarInfo(sys.argv[2]); bad.size = 1; tar.addfile(bad, io.BytesIO(b"x"))`;
    assert.equal((await server.run(["python3", "-c", script, packed, name])).code, 0);
    assert.match(await refused(server.offer(manifest, packed)), /the archive is refused: '.*owned'/);
  }
  assert.equal(await root("ls /etc/chillbox | grep -c owned || true"), "0");
  assert.equal(await root("ls /var/lib/chillbox/sites/evil/releases/*/app 2>/dev/null | wc -l"), "0");
});

test("a download that is not what the manifest says is refused", { timeout: 60_000 }, async () => {
  const manifest = await server.manifest("other", tree("other", "page"));
  const artifact = { ...(manifest.artifact as object), sha256: "0".repeat(64) };
  assert.match(await refused({ ...manifest, artifact }), /has not the SHA-256 that the manifest says/);
});

test("a configuration that would be root's on a root nginx is refused, and so is one with an error", {
  timeout: 60_000,
}, async () => {
  const evil = `log_format owned escape=none "$http_line";
server { listen 80; server_name other.test; access_log /etc/crontabs/root owned; }\n`;
  const manifest = await server.manifest("other", tree("other", "page"), { nginx: evil });
  assert.match(
    await refused(manifest),
    /nginx refuses the site's configuration: .*\/etc\/crontabs\/root.*Permission denied/,
  );
  const wrong = await server.manifest("other", tree("other", "page"), { nginx: "server { liste 80; }\n" });
  assert.match(await refused(wrong), /nginx refuses the site's configuration: .*unknown directive "liste"/);
  assert.equal(await get("still.test"), "a page");
});

test("ports, names and system users that are taken are refused", { timeout: 60_000 }, async () => {
  const port = await server.manifest("other", tree("other", "page", answering("x")), withService("other", 8101));
  assert.match(await refused(port), /other wants what app already has: port 8101/);
  const name = await server.manifest("other", tree("other", "page"), { domains: ["app.test"] });
  assert.match(await refused(name), /the name app\.test/);
  const user = await server.manifest("nginx", tree("nginx", "page"));
  assert.match(await refused(user), /the slug nginx/);
  const group = await server.manifest("disk", tree("disk", "page"));
  assert.match(await refused(group), /the slug disk is the name of a system group/);
});

test("one site cannot reach another's port, nor listen on it", { timeout: 60_000 }, async () => {
  await install(await server.manifest("other", tree("other", "page", answering("mine")), withService("other", 8102)));
  const as = (user: string, url: string) => `s6-setuidgid ${user} curl --silent --max-time 3 ${url} || echo no`;
  assert.equal(await root(as("app", "http://127.0.0.1:8101/api/")), "two");
  for (const url of ["http://127.0.0.1:8101/", "http://127.9.9.9:8101/", "http://[::ffff:127.0.0.1]:8101/"]) {
    assert.equal(await root(as("other", url)), "no", url);
  }
  const bind = "python3 -c 'import socket; socket.socket().bind((\"127.0.0.1\", 8101))' 2>&1 | tail -n 1";
  assert.match(await root(`s6-setuidgid other sh -c "${bind.replaceAll('"', '\\"')}"`), /Address already in use/);
});

test("an install that is killed anywhere changes nothing for visitors, and the next run ends it", {
  timeout: 240_000,
}, async () => {
  const stop = server.host.path("stop-killed");
  const visitors = visit("app.test", stop);
  let version = 0;
  let landed = 0;
  for (const delay of [100, 400, 800, 1200, 1700, 2300]) {
    version += 1;
    const word = `version ${version}`;
    const changes = { ...withService("app", 8101), version: `2.0.${version}`, watchSeconds: 0 };
    const manifest = await server.manifest("app", tree("app", "static", answering(word)), changes);
    const earlier = await get("app.test", "/api/");
    if (await installKilled(manifest, delay)) landed += 1;
    const between = await get("app.test", "/api/");
    assert.ok([earlier, word].includes(between), `after ${delay} ms: ${between}`);
    const again = await install(manifest);
    assert.match(String(again.result), /installed|unchanged/);
    assert.equal(await get("app.test", "/api/"), word, `after ${delay} ms`);
    assert.equal(await root("ls /run/chillbox/services | grep -c ^app"), "1");
    assert.equal(await root("ls -d /var/lib/chillbox/sites/app/incoming 2>/dev/null | wc -l"), "0");
  }
  assert.ok(landed > 0, "no install was killed");
  writeFileSync(stop, "");
  const { code, out } = await visitors;
  assert.equal(code, 0, "a request failed");
  assert.ok(out.split("\n").length > 100, out);
});

test("a first install that is killed anywhere is ended by the next run", { timeout: 240_000 }, async () => {
  let landed = 0;
  for (const [number, delay] of [150, 500, 1000, 1600, 2400].entries()) {
    const slug = `fresh${number}`;
    const changes = { ...withService(slug, 8110 + number), watchSeconds: 0 };
    const manifest = await server.manifest(slug, tree(slug, "static", answering(slug)), changes);
    if (await installKilled(manifest, delay)) landed += 1;
    assert.match(String((await install(manifest)).result), /installed|unchanged/);
    assert.equal(await get(`${slug}.test`, "/api/"), slug, `after ${delay} ms`);
    assert.equal(await root(`ls /run/chillbox/services | grep -c ^${slug}`), "1");
    assert.equal((await server.ssh("doas chillbox-site remove", { slug })).out, '{"result":"removed"}\n');
  }
  assert.ok(landed > 0, "no install was killed");
});

test("two installs at once wait for each other", { timeout: 60_000 }, async () => {
  const manifest = await server.manifest("still", tree("still", "together"), { version: "1.1.0" });
  const results = await Promise.all([install(manifest), install(manifest)]);
  assert.deepEqual(results.map(({ result }) => result).sort(), ["installed", "unchanged"]);
});

test("old releases go, but for as many as are to be kept", async () => {
  assert.equal(await root("ls /var/lib/chillbox/sites/app/releases | wc -l"), "3");
});

test("a service that dies comes back by itself", { timeout: 30_000 }, async () => {
  await root("kill -KILL $(s6-svstat -o pid /run/chillbox/scan/other.api@*)");
  await eventually(async () => (await get("other.test", "/api/")) === "mine");
});

test("everything comes back after a power cut", { timeout: 90_000 }, async () => {
  await server.host.kill();
  await server.host.boot();
  await eventually(async () => (await get("other.test", "/api/")) === "mine", 60);
  await eventually(async () => (await get("app.test", "/api/")).startsWith("version"));
  assert.equal(await get("still.test"), "together");
  assert.equal((await server.playbook("configure")).out, '{"changed":false}\n');
});

test("removing a site keeps its data and nothing else of it", { timeout: 60_000 }, async () => {
  await root("s6-setuidgid app touch /var/lib/app/api/precious");
  const said = await server.ssh("doas chillbox-site remove", { slug: "app" });
  assert.equal(said.out, '{"result":"removed"}\n', said.errors);
  assert.match(await get("app.test"), /404 Not Found/);
  assert.equal(await root("ls /var/lib/app/api"), "precious");
  assert.equal(await root("ls /var/lib/chillbox/sites/app"), "log");
  assert.equal(await root("ls -d /srv/app /usr/local/src/app /run/chillbox/services/*app* 2>/dev/null | wc -l"), "0");
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "app" })).out, '{"result":"unchanged"}\n');
  const { out } = await server.ssh("doas chillbox-site list");
  assert.deepEqual(
    JSON.parse(out).map(({ slug }: { slug: string }) => slug),
    ["other", "still"],
  );
});

/** Visitors who ask for /api/ without a pause until the file is there; their code is 1 once a request failed. */
function visit(host: string, stop: string): Promise<Said> {
  const ask = `curl --silent --fail --max-time 10 --header "Host: ${host}" "http://${server.host.address}/api/?[1-40]"`;
  return server.run(["sh", "-c", `while [ ! -e ${stop} ]; do ${ask} || exit 1; done`]);
}

/** Installs, and kills all of it after so many milliseconds. @returns whether that came before its end. */
async function installKilled(manifest: unknown, delay: number): Promise<boolean> {
  const kill = `(sleep ${delay / 1000}; pkill -KILL -f '[c]hillbox-(site|venv)') & doas chillbox-site install`;
  const { code, out } = await server.ssh(`doas sh -c "${kill.replaceAll("$", "\\$")}"`, manifest);
  // The shells around it are killed with it: ssh says 137, or 255 when its own was.
  assert.ok([0, 137, 255].includes(code), `${code}: ${out}`);
  return code !== 0;
}

async function eventually(check: () => Promise<boolean>, seconds = 15): Promise<void> {
  const until = Date.now() + seconds * 1000;
  while (!(await check().catch(() => false))) {
    assert.ok(Date.now() < until, `not within ${seconds} s`);
    await sleep(200);
  }
}
