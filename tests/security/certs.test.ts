import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { acmeDirectory } from "../../local-cloud/acme/names.ts";
import { TestAcme } from "../server-scripts/acme.ts";
import { type Said, TestServer } from "../server-scripts/server.ts";
import { answering, makeTree, siteParts } from "../server-scripts/test-site.ts";
import { Visitor } from "../server-scripts/visitors.ts";

/** One server and one Pebble, at its own rates of refused nonces and reused authorizations, for all tests of this file in their order. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-certs-"));
let acme: TestAcme;

/** Renewals under load; `npm run test:soak` wants more. */
const renewals = Number(process.env.CHILLBOX_RENEWALS ?? 5);

before(
  async () => {
    await server.boot();
    const { address } = server.host;
    const names = ["box.test", "shop.test", "www.shop.test", "club.test", "blocked.test", "feed.test"];
    acme = new TestAcme(server, {
      names: Object.fromEntries(names.map((name) => [name, address])),
      blocked: ["blocked.test"],
    });
    await acme.start();
    assert.equal((await server.playbook("enrol")).code, 0);
    const said = await server.playbook("configure", {}, acme.input);
    assert.equal(said.code, 0, said.errors);
    await install("shop", 8101, ["shop.test", "www.shop.test"]);
  },
  { timeout: 240_000 },
);
after(async () => {
  await acme?.stop();
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Certificate {
  readonly slug: string;
  readonly certificate: { readonly file: string; readonly issued: string; readonly names: readonly string[] } | null;
  readonly next: string | null;
  readonly failing: readonly { name: string; by: string; attempts: number; next: string; reason: string }[];
}

async function install(slug: string, port: number, domains: readonly string[]): Promise<void> {
  const parts = siteParts({ slug, port }, slug);
  const nginx = parts.nginx.replace(`server_name ${slug}.test;`, `server_name ${domains.join(" ")};`);
  const tree = makeTree(folder, slug, slug, answering(slug));
  const manifest = await server.manifest(slug, tree, { ...parts, nginx, domains, watchSeconds: 0 });
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

/** Runs a line of shell as root on the server. */
async function root(line: string): Promise<string> {
  const said = await server.ssh("doas sh", line);
  assert.equal(said.code, 0, `${line}: ${said.errors}`);
  return said.out.trim();
}

async function renew(...words: string[]): Promise<{ issued: string[]; seconds: number }> {
  const said = await server.ssh(`doas chillbox-certs renew ${words.join(" ")}`);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out);
}

async function certificateOf(slug: string): Promise<Certificate> {
  const all = JSON.parse(await root("chillbox-certs status")) as Certificate[];
  const found = all.find((one) => one.slug === slug);
  assert.ok(found, `${slug} in ${JSON.stringify(all)}`);
  return found;
}

/** Waits until a site's certificate is another than this one. */
async function newCertificate(slug: string, than: string | undefined, seconds = 60): Promise<Certificate> {
  for (const end = Date.now() + seconds * 1000; ; await sleep(500)) {
    const found = await certificateOf(slug);
    if (found.certificate && found.certificate.file !== than) return found;
    if (Date.now() > end) throw new Error(`no new certificate within ${seconds} s: ${JSON.stringify(found)}`);
  }
}

function visit(url: string, ...options: string[]): Promise<Said> {
  const way = ["--silent", "--show-error", "--connect-to", `::${server.host.address}:`, "--cacert", acme.roots];
  return server.run(["curl", ...way, "--max-time", "10", ...options, url]);
}

async function page(url: string, patience = 5000): Promise<string> {
  // A certificate is there a moment before nginx has it.
  for (const end = Date.now() + patience; ; await sleep(100)) {
    const said = await visit(url);
    if (said.code === 0) return said.out.trim();
    assert.ok(Date.now() < end, `${url}: ${said.errors}`);
  }
}

test("a site is served on port 80, gets its certificate by itself, and then sends visitors to https", {
  timeout: 120_000,
}, async () => {
  const { certificate, failing } = await newCertificate("shop", undefined);
  assert.deepEqual(certificate?.names, ["shop.test", "www.shop.test"]);
  assert.deepEqual(failing, []);
  assert.equal(await page("https://shop.test/nginx"), "shop");
  assert.equal(await page("https://www.shop.test/api/"), "shop");
  const { out } = await visit(
    "http://www.shop.test/a?b",
    "--output",
    "/dev/null",
    "--write-out",
    "%{http_code} %{redirect_url}",
  );
  assert.equal(out, "301 https://www.shop.test/a?b");
  await newCertificate("_server", undefined);
  assert.equal(await page("https://box.test/shop/version.txt"), "1.0.0");
});

test("https is HTTP/2 and TLS 1.2 or newer, browsers are told to keep to it, and other names get no handshake", async () => {
  const { errors } = await visit("https://shop.test/nginx", "--verbose", "--http2");
  assert.match(errors, /HTTP\/2 200/);
  assert.match(errors, /strict-transport-security: max-age=63072000/i);
  const old = await visit("https://shop.test/", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0");
  assert.notEqual(old.code, 0);
  const other = await visit("https://other.test/", "--insecure");
  assert.match(other.errors, /unrecognized name/);
});

test("keys are read by root and nginx alone, and the account's by root", async () => {
  const keys = await root("find /var/lib/chillbox/certs -name key.pem -exec stat -c '%a %U:%G' {} +");
  assert.deepEqual([...new Set(keys.split("\n"))], ["640 root:nginx"]);
  const account = await root("find /var/lib/chillbox/acme -type f -perm /077");
  assert.equal(account, "");
  const said = await server.ssh(`doas s6-setuidgid shop cat ${(await certificateOf("shop")).certificate?.file}`);
  assert.match(said.errors, /Permission denied/);
});

test("a name that cannot be had holds up neither its site's others nor other sites, and is named with its reason", {
  timeout: 120_000,
}, async () => {
  await install("club", 8102, ["club.test", "blocked.test", "nowhere.club.test"]);
  await install("feed", 8103, ["feed.test"]);
  const { certificate, failing } = await newCertificate("club", undefined);
  assert.deepEqual(certificate?.names, ["club.test"]);
  assert.deepEqual(failing.map(({ name, by }) => [name, by]).sort(), [
    ["blocked.test", "ca"],
    ["nowhere.club.test", "check"],
  ]);
  assert.match(failing.find(({ by }) => by === "ca")?.reason ?? "", /blocked\.test/);
  assert.match(failing.find(({ by }) => by === "check")?.reason ?? "", /not in DNS/);
  assert.equal(await page("https://club.test/nginx"), "club");
  assert.equal(await page("http://blocked.test/nginx"), "club", "without a certificate it stays on port 80");
  await newCertificate("feed", undefined);
  assert.equal(await page("https://feed.test/nginx"), "feed");
});

test("what the CA refused is not asked again before its time, and then later each time", {
  timeout: 60_000,
}, async () => {
  const before = acme.orders;
  await renew("due");
  assert.equal(acme.orders, before);
  await renew("now", "club");
  await acme.moreOrdersThan(before);
  const refused = (await certificateOf("club")).failing.find(({ by }) => by === "ca");
  assert.equal(refused?.attempts, 2);
  const wait = Date.parse(refused?.next ?? "") - Date.now();
  assert.ok(wait > 7_000_000 && wait <= 7_200_000, `${wait} ms`);
});

test("a name that comes into DNS is on the certificate soon after, without anybody's help", {
  timeout: 90_000,
}, async () => {
  const { certificate } = await certificateOf("club");
  acme.setNames({ "nowhere.club.test": server.host.address });
  const { certificate: wider } = await newCertificate("club", certificate?.file, 130);
  assert.deepEqual(wider?.names, ["club.test", "nowhere.club.test"]);
});

test("nothing is renewed and nginx not reloaded while nothing is due; what the CA wants renewed is", {
  timeout: 60_000,
}, async () => {
  const workers = "pgrep -P \"$(cat /run/chillbox/nginx/own/pid)\" | sort | tr '\\n' ' '";
  const before = await root(workers);
  assert.deepEqual((await renew("now", "shop")).issued, []);
  assert.equal(await root(workers), before);
  const { certificate } = await certificateOf("shop");
  await acme.suggestRenewal(await root(`cat ${certificate?.file}`));
  assert.deepEqual((await renew("now", "shop")).issued, ["shop"]);
  assert.notEqual((await certificateOf("shop")).certificate?.file, certificate?.file);
  assert.notEqual(await root(workers), before);
});

test(`${renewals} renewals under load lose no request`, { timeout: 30_000 + renewals * 20_000 }, async () => {
  const visitor = new Visitor(server, "shop", acme.roots);
  const seen = new Set<string>();
  for (let count = 0; count < renewals; count += 1) {
    assert.deepEqual((await renew("force", "shop")).issued, ["shop"]);
    for (const answer of await visitor.answers()) seen.add(answer);
  }
  const asked = await visitor.leave();
  for (const answer of await visitor.answers().catch(() => [])) seen.add(answer);
  assert.deepEqual([...seen], ["shop"]);
  console.error(`${asked} answers during ${renewals} renewals`);
});

test("a CA that forgets all accounts and changes its root costs nothing: sites answer, and the next renewal is by the new one", {
  timeout: 90_000,
}, async () => {
  const old = await certificateOf("shop");
  await acme.stop();
  await renew("force", "shop");
  // DNS has gone with it.
  assert.match((await certificateOf("shop")).failing[0]?.reason ?? "", /not in DNS/);
  assert.equal(await page("https://shop.test/nginx"), "shop");
  await acme.start();
  assert.equal(await page("https://shop.test/nginx"), "shop");
  assert.deepEqual((await renew("force", "shop")).issued, ["shop"]);
  const { certificate, failing } = await certificateOf("shop");
  assert.notEqual(certificate?.file, old.certificate?.file);
  assert.deepEqual(failing, []);
  assert.equal(await page("https://shop.test/nginx"), "shop");
});

test("a renewal that is killed anywhere leaves a site that answers and nothing half", {
  timeout: 120_000,
}, async () => {
  for (const milliseconds of [100, 400, 800, 1200, 1600, 2000]) {
    await root(
      `setsid chillbox-certs renew force shop >/dev/null 2>&1 & sleep ${milliseconds / 1000}; kill -KILL -$! 2>/dev/null || true`,
    );
    assert.equal(await page("https://shop.test/nginx", 0), "shop");
  }
  assert.deepEqual((await renew("force", "shop")).issued, ["shop"]);
  assert.equal(await root("ls /var/lib/chillbox/certs/shop | wc -l"), "3", "plain, current and what it names");
  assert.equal(await root("ls /srv/chillbox/.well-known/acme-challenge"), "");
});

test("certificates that live for a minute are renewed by themselves, again and again", {
  timeout: 150_000,
}, async () => {
  await acme.start({ validitySeconds: 45 });
  await renew("force", "feed");
  let { certificate } = await certificateOf("feed");
  for (let count = 0; count < 2; count += 1) {
    ({ certificate } = await newCertificate("feed", certificate?.file, 50));
    assert.equal(await page("https://feed.test/nginx"), "feed");
  }
});

test("a wildcard's key is made here and stays; what the laptop brings is put to use if it fits, and only then", async () => {
  await install("wild", 8110, ["wild.test", "*.wild.test"]);
  acme.setNames({ "any.wild.test": server.host.address });
  const before = acme.orders;
  assert.deepEqual((await renew("now", "wild")).issued, []);
  assert.equal(acme.orders, before, "no server has the token for its challenge");
  const asked = async () => JSON.parse((await server.ssh("doas chillbox-certs csr wild")).out);
  const { names, csr, directory, certificate } = await asked();
  assert.deepEqual([names, directory, certificate], [["*.wild.test", "wild.test"], "https://acme.test/dir", null]);
  const put = (chain: string) => server.ssh("doas chillbox-certs put wild", chain);
  const older = selfSigned(csr, ["wild.test", "*.wild.test"]);
  assert.match((await put(selfSigned(csr, ["wild.test"]))).errors, /the certificate is not for \*\.wild\.test/);
  assert.match((await put("nothing")).errors, /this is no certificate/);
  const said = await put(older);
  assert.equal(said.code, 0, said.errors);
  const until = JSON.parse(said.out).until as string;
  assert.ok(Date.parse(until) > Date.now());
  assert.match((await visit("https://any.wild.test/", "--insecure")).out, /wild/);
  assert.match((await put(older)).errors, /nothing was ordered for wild/);

  const next = await asked();
  assert.notEqual(next.csr, csr, "each certificate has a key of its own");
  assert.equal(next.certificate.expires, until);
  assert.match(
    (await put(older)).errors,
    /keeps the certificate that it has: the CA has sent a certificate for another key/,
  );
  assert.match((await visit("https://any.wild.test/", "--insecure")).out, /wild/);
  assert.match((await server.ssh("doas chillbox-certs csr shop")).errors, /shop has no wildcard/);
});

/** A certificate for the key of a request, PEM, by an authority that nobody knows. */
function selfSigned(csr: string, names: readonly string[]): string {
  const at = (name: string) => join(folder, name);
  writeFileSync(at("wild.csr"), csr);
  writeFileSync(at("wild.ext"), `subjectAltName=${names.map((name) => `DNS:${name}`).join(",")}\n`);
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", at("ca.key")];
  execFileSync("openssl", ["req", "-x509", ...key, "-subj", "/CN=test", "-out", at("ca.pem")], { stdio: "ignore" });
  const signer = ["-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-CAcreateserial", "-days", "30"];
  const words = ["x509", "-req", "-in", at("wild.csr"), ...signer, "-extfile", at("wild.ext")];
  return execFileSync("openssl", words, { stdio: ["ignore", "pipe", "ignore"] }).toString();
}

test("a site that is removed and comes back has its certificate at once; a purge takes it", {
  timeout: 60_000,
}, async () => {
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "shop" })).code, 0);
  assert.match((await visit("https://shop.test/")).errors, /unrecognized name/);
  await install("shop", 8101, ["shop.test", "www.shop.test"]);
  assert.equal(await page("https://shop.test/nginx"), "shop");
  assert.equal((await server.ssh("doas chillbox-site remove", { slug: "shop" })).code, 0);
  assert.equal((await server.ssh("doas chillbox-site purge", { slug: "shop" })).code, 0);
  assert.equal(await root("ls -d /var/lib/chillbox/certs/shop 2>/dev/null || echo gone"), "gone");
});

test("the trial server is asked first, and the real one only when it says yes", { timeout: 240_000 }, async () => {
  acme.setNames({ "first.test": server.host.address });
  const { tls } = acme.input as { tls: object };
  const said = await server.playbook("configure", {}, { tls: { ...tls, trial: `${acmeDirectory}?trial` } });
  assert.equal(said.code, 0, said.errors);
  await install("first", 8104, ["first.test"]);
  assert.deepEqual((await newCertificate("first", undefined, 180)).certificate?.names, ["first.test"]);
  assert.equal(await page("https://first.test/nginx"), "first");
  const accounts = await root("ls /var/lib/chillbox/acme/accounts | wc -l");
  assert.equal(accounts, "2", "the trial server has an account of its own");
  const log = await root("grep -rh 'trial order' /var/log");
  assert.match(log, /the trial order for first\.test was filled/);
});

test("with tls switched off all sites are on port 80 again; switched on, they are on https", {
  timeout: 240_000,
}, async () => {
  const { tls } = acme.input as { tls: object };
  assert.equal((await server.playbook("configure", {}, { tls: { ...tls, enabled: false } })).code, 0);
  await renew("now");
  assert.equal((await visit("http://first.test/nginx")).out.trim(), "first");
  assert.notEqual((await visit("https://first.test/nginx")).code, 0);
  assert.equal((await certificateOf("first")).certificate, null);
  assert.equal((await server.playbook("configure", {}, acme.input)).code, 0);
  await renew("now", "first");
  assert.equal(await page("https://first.test/nginx"), "first");
});
