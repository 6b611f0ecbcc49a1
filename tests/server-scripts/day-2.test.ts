import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { Deploy, SiteStatus, Status } from "../../cli/status.ts";
import { TestServer } from "./server.ts";

/** One server for all tests of this file, in their order: many sites at once, then what a person does with one of them until it is gone. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-day-2-"));
const hello = resolve(import.meta.dirname, "../../sites/hello");
const count = 20;

before(
  async () => {
    await server.setUp();
  },
  { timeout: 240_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A site with one page. */
function still(slug: string, changes: Record<string, unknown> = {}): Promise<Record<string, unknown>> {
  const site = join(folder, slug);
  mkdirSync(join(site, "nginx/root"), { recursive: true });
  writeFileSync(join(site, "nginx/root/index.html"), `${slug}\n`);
  return server.manifest(slug, site, changes);
}

/** The site "shop": a page that nginx caches, and the Python service "api". */
function shop(version: string): Promise<Record<string, unknown>> {
  const site = join(folder, "shop");
  rmSync(site, { recursive: true, force: true });
  mkdirSync(join(site, "nginx/root"), { recursive: true });
  cpSync(join(hello, "api"), join(site, "api"), { recursive: true });
  renameSync(join(site, "api/hello_api"), join(site, "api/shop_api"));
  const project = readFileSync(join(site, "api/pyproject.toml"), "utf8").replaceAll("hello_api", "shop_api");
  writeFileSync(join(site, "api/pyproject.toml"), project);
  writeFileSync(
    join(site, "api/shop_api/app.py"),
    `def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"${version}\\n"]
    return application
`,
  );
  return server.manifest("shop", site, {
    version,
    watchSeconds: 0,
    services: [{ name: "api", lang: "python", handler: "api", host: "127.0.0.1", port: 8101, environment: {} }],
    nginx: `server {
  include /etc/nginx/conf.d/shop.ssl_cert.include;
  server_name shop.test;
  root /srv/shop/root;
  access_log /var/log/nginx/shop/access.log;
  location / {
    proxy_pass http://127.0.0.1:8101;
    proxy_cache var_cache_nginx;
    proxy_cache_valid 200 1m;
  }
}
`,
  });
}

async function install(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out).result;
}

async function asked<T>(command: string, input: unknown = ""): Promise<T> {
  const said = await server.ssh(command, input);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out) as T;
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

async function status(slug: string): Promise<SiteStatus> {
  const { sites } = await asked<Status>("doas chillbox-status");
  const site = sites.find((each) => each.slug === slug);
  assert.ok(site, `no site ${slug}`);
  return site;
}

test("twenty sites that come at once are all installed; the one that is wrong fails alone", {
  timeout: 300_000,
}, async () => {
  const slugs = Array.from({ length: count }, (_, number) => `still${number}`);
  const manifests = [];
  for (const slug of slugs) manifests.push(await still(slug));
  const wrong = await still("wrong", { nginx: "server { liste 80; }\n" });
  const begun = Date.now();
  const most = server.ssh(
    "doas sh -c 'while [ ! -e /run/done ]; do ls /var/lib/chillbox/sites/*/incoming -d 2>/dev/null | wc -l; sleep 0.05; done | sort -n | tail -n 1'",
  );
  const all = await Promise.all(
    [...manifests, wrong].map((manifest) => server.ssh("doas chillbox-site install", manifest)),
  );
  console.log(`# ${count} sites at once: ${Date.now() - begun} ms`);
  await root("touch /run/done");
  const last = all.pop();
  for (const said of all) assert.equal(said.code, 0, said.errors);
  assert.equal(last?.code, 1);
  assert.match(String(last?.errors), /nginx refuses the site's configuration: .*unknown directive "liste"/);
  for (const slug of slugs) assert.equal(await get(`${slug}.test`), slug);
  assert.ok(all.some((said) => /waits for its turn: this server installs \d+ sites at a time/.test(said.errors)));
  const cores = Number(await root("nproc"));
  assert.ok(Number((await most).out) <= cores, `${(await most).out} at a time on ${cores} cores`);
});

test("status of twenty sites comes at once, with each site's certificate", { timeout: 60_000 }, async () => {
  await root(
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=x -days 30 -keyout /etc/chillbox/x.key -out /etc/chillbox/x.pem 2>/dev/null",
  );
  const include = (slug: string, file: string) =>
    root(`printf "listen 80;\\nssl_certificate ${file};\\n" >/etc/nginx/conf.d/${slug}.ssl_cert.include`);
  await include("still1", "/etc/chillbox/x.pem");
  await include("still2", "/etc/chillbox/none.pem");
  const begun = Date.now();
  const { sites } = await asked<Status>("doas chillbox-status");
  const milliseconds = Date.now() - begun;
  console.log(`# status of ${sites.length} sites: ${milliseconds} ms with the ssh connection`);
  assert.equal(sites.length, count);
  const [none, good, bad] = ["still0", "still1", "still2"].map((slug) => sites.find((site) => site.slug === slug));
  assert.equal(none?.certificate, null);
  assert.equal(good?.certificate?.file, "/etc/chillbox/x.pem");
  const days = (Date.parse(String(good?.certificate?.expires)) - Date.now()) / 86_400_000;
  assert.ok(days > 29 && days < 31, String(good?.certificate?.expires));
  assert.deepEqual(bad?.certificate, { file: "/etc/chillbox/none.pem", expires: null });
  for (const slug of ["still1", "still2"]) {
    await root(`echo "listen 80;" >/etc/nginx/conf.d/${slug}.ssl_cert.include`);
  }
});

test("the server's own name serves each site's version, and the log of deploys has each switch", {
  timeout: 90_000,
}, async () => {
  for (const version of ["1.0.0", "2.0.0"]) {
    assert.equal(await install(await shop(version)), "installed");
    assert.equal(await get("box.test", "/shop/version.txt"), version);
    assert.equal(await get("shop.test", `/?${version}`), version);
  }
  await asked("doas chillbox-site rollback", { slug: "shop", by: "me@laptop", reason: "a try" });
  assert.equal(await get("box.test", "/shop/version.txt"), "1.0.0");
  const deploys = await asked<Deploy[]>("doas chillbox-site log", { slug: "shop" });
  assert.deepEqual(
    deploys.map(({ by, from, to, result }) => [by, from.replace(/\+.*/, ""), to.replace(/\+.*/, ""), result]),
    [
      ["test", "-", "1.0.0", "installed"],
      ["test", "1.0.0", "2.0.0", "installed"],
      ["me@laptop", "2.0.0", "1.0.0", "rolled back"],
    ],
  );
});

test("logs since a time: of services, nginx and deploys, as they really write", { timeout: 60_000 }, async () => {
  const logs = (words: string) => root(`chillbox-logs ${words}`);
  assert.match(await logs("--since 10m shop api"), /^20\d\d-.*(gunicorn|Booting|Listening)/m);
  assert.match(await logs("--since 10m shop nginx"), /GET \/\?2\.0\.0 /);
  assert.match(await logs("--since 10m shop deploys"), /\trolled back$/m);
  assert.match(await logs("--since 10m shop"), /==> api <==[\s\S]*==> nginx access\.log <==[\s\S]*==> deploys <==/);
  await sleep(2100);
  await get("shop.test", "/?later");
  assert.equal(await logs("--since 1s shop api"), "");
  assert.equal(await logs("--since 1s shop deploys"), "");
  const [line, ...others] = (await logs("--since 1s shop nginx")).split("\n");
  assert.match(String(line), /GET \/\?later /);
  assert.deepEqual(others, []);
});

test("status tells that a service lacks its secrets file", { timeout: 60_000 }, async () => {
  const lacks = async () => (await status("shop")).services.map((service) => service.lacksSecrets);
  assert.deepEqual(await lacks(), [false]);
  await root("echo /run/secrets-of-shop >/var/lib/chillbox/sites/shop/current/services/api/data/secrets");
  assert.deepEqual(await lacks(), [true]);
  await root("touch /run/secrets-of-shop");
  assert.deepEqual(await lacks(), [false]);
});

test("removing ends what left its service, and follows no link that nginx could lay", { timeout: 60_000 }, async () => {
  await root("s6-setuidgid shop setsid sleep 4321 </dev/null >/dev/null 2>&1 &");
  await root(
    "s6-setuidgid shop sh -c 'echo precious >/var/lib/shop/api/file; ln -s /etc/chillbox /var/lib/shop/api/link'",
  );
  assert.notEqual(await root("ls /var/cache/nginx/shop"), "", "nothing is cached");
  await root("s6-setuidgid nginx sh -c 'rm -r /var/cache/nginx/shop; ln -s /etc/chillbox /var/cache/nginx/shop'");
  const before = await root("ls /etc/chillbox");
  assert.equal((await asked<{ result: string }>("doas chillbox-site remove", { slug: "shop" })).result, "removed");
  assert.equal(await root("ls /etc/chillbox"), before);
  assert.equal(await root("ls -d /var/cache/nginx/shop 2>/dev/null || true"), "");
  assert.equal(await root("pgrep -f '[s]leep 4321' || true"), "");
  assert.match(await get("box.test", "/shop/version.txt"), /404 Not Found/);
  const [last] = (await asked<Deploy[]>("doas chillbox-site log", { slug: "shop" })).slice(-1);
  assert.deepEqual([last?.to, last?.result], ["-", "removed"]);
  assert.equal(await root("cat /var/lib/shop/api/file"), "precious");
});

test("purge is refused while the site is there, and shows what is kept once it is not", {
  timeout: 60_000,
}, async () => {
  const said = await server.ssh("doas chillbox-site purge", { slug: "still0" });
  assert.equal(said.code, 1);
  assert.match(said.errors, /still0 is still on this server/);
  assert.equal(await get("still0.test"), "still0");
  const { result, kept } = await asked<{ result: string; kept: { what: string; path: string; bytes: number }[] }>(
    "doas chillbox-site purge",
    { slug: "shop", look: true },
  );
  assert.equal(result, "there");
  assert.deepEqual(
    kept.map(({ what, path }) => `${what} ${path}`),
    [
      "data /var/lib/shop/api",
      "log /var/log/shop-api",
      "log /var/log/nginx/shop",
      "deploy log /var/lib/chillbox/sites/shop/log",
      "user shop",
    ],
  );
  assert.ok(kept.every(({ what, bytes }) => what === "user" || bytes > 0));
});

test("purge that is killed anywhere is ended by the next one: nothing of the site is left, nor of what its links lead to lost", {
  timeout: 120_000,
}, async () => {
  const uid = await root("id -u shop");
  await root(
    "s6-setuidgid shop sh -c 'umask 0; mkdir -p /var/lib/shop/api/deep/er /tmp/of-shop/deep; chmod 0 /tmp/of-shop; touch /dev/shm/of-shop'",
  );
  await root("s6-setuidgid nginx ln -s /etc/chillbox /var/log/nginx/shop/link");
  const before = await root("ls /etc/chillbox");
  let landed = 0;
  for (const delay of [0.05, 0.1, 0.15, 0.2, 0.3]) {
    const kill = `(sleep ${delay}; pkill -KILL -f "[c]hillbox-(site|remove)") & chillbox-site purge`;
    if ((await server.ssh(`doas sh -c '${kill}'`, { slug: "shop" })).code !== 0) landed += 1;
  }
  assert.ok(landed > 0, "no purge was killed");
  const done = await asked<{ result: string }>("doas chillbox-site purge", { slug: "shop" });
  assert.match(done.result, /purged|unchanged/);
  assert.equal(await root("ls /etc/chillbox"), before);
  assert.equal(await root(`find / -xdev \\( -uid ${uid} -o -gid ${uid} \\) 2>/dev/null || true`), "");
  assert.equal(await root(`find /dev/shm /run /tmp \\( -uid ${uid} -o -gid ${uid} \\) 2>/dev/null || true`), "");
  assert.equal(
    await root("find / -xdev -name '*shop*' 2>/dev/null; grep shop /etc/passwd /etc/group /etc/shadow || true"),
    "",
  );
  assert.deepEqual(await asked("doas chillbox-site purge", { slug: "shop" }), { result: "unchanged", kept: [] });
  assert.equal(await get("still0.test"), "still0");
});

test("a site that was purged can come back, as if it had never been", { timeout: 60_000 }, async () => {
  assert.equal(await install(await shop("3.0.0")), "installed");
  assert.equal(await get("shop.test"), "3.0.0");
  assert.equal((await asked<Deploy[]>("doas chillbox-site log", { slug: "shop" })).length, 1);
});
