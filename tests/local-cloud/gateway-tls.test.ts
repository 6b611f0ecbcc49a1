import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, request, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { after, before, test } from "node:test";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import {
  type Authority,
  gatewayRootFile,
  openAuthority,
  openGatewayAuthority,
} from "../../local-cloud/acme/authority.ts";
import { acmeFiles } from "../../local-cloud/acme/pebble.ts";
import { describeRoots } from "../../local-cloud/acme/roots.ts";
import { createGateway } from "../../local-cloud/gateway/gateway.ts";
import { address, soa, tableZones } from "./zones-support.ts";

/** A copy with nothing in it but certificates, and droplets on loopback whose certificates a CA of their own signs. */
const folder = mkdtempSync(join(tmpdir(), "chillbox-gateway-"));
const settings = localCloudSettings({ CHILLBOX_HOME: folder });
const zones = tableZones({
  "hello.test": [soa, address("127.0.0.1")],
  "other.test": [soa, address("127.0.0.1")],
});
let droplets: Authority;
let droplet: Server;
let gateway: ReturnType<typeof createGateway>;
let port = 0;
let root = "";

before(async () => {
  droplets = await openAuthority(join(folder, "droplets"), "droplets", "test");
  const { key, certificate } = await droplets.issue(["hello.test"]);
  droplet = createServer({ key, cert: certificate }, (asked, response) => {
    response.setHeader("strict-transport-security", "max-age=60");
    if (asked.url === "/redirect") response.writeHead(301, { location: "https://hello.test/x" });
    response.end(`${asked.headers.host} by ${asked.headers["x-forwarded-proto"]}`);
  });
  await new Promise<void>((done) => droplet.listen(0, "127.0.0.1", done));
  const authority = await openGatewayAuthority(settings);
  root = authority.certificate;
  const probe = createServer();
  await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done));
  port = (probe.address() as AddressInfo).port;
  await new Promise((done) => probe.close(done));
  gateway = createGateway({
    zones,
    port: 0,
    tls: { port, authority, roots: async () => droplets.certificate },
    addressRange: "127.0.0.0/30",
    dropletTlsPort: (droplet.address() as AddressInfo).port,
    log: () => {},
  });
  await gateway.start();
});
after(async () => {
  await gateway?.stop();
  droplet?.closeAllConnections();
  droplet?.close();
  rmSync(folder, { recursive: true });
});

/** What a browser sees that trusts the gateway's root alone. */
function visit(name: string, path = "/"): Promise<{ status: number; location: string; hsts: boolean; body: string }> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, servername: name, path, ca: root, headers: { host: `${name}:${port}` } };
    const asked = request(options, async (answer) => {
      const { location = "", "strict-transport-security": hsts } = answer.headers;
      resolve({ status: answer.statusCode ?? 0, location, hsts: hsts !== undefined, body: await text(answer) });
    });
    asked.once("error", reject).end();
  });
}

test("https comes with a certificate of the gateway's own and reaches the droplet by https", async () => {
  const { status, body, hsts } = await visit("hello.test.localhost");
  assert.deepEqual([status, body, hsts], [200, "hello.test by https", false]);
  const { location } = await visit("hello.test.localhost", "/redirect");
  assert.equal(location, `https://hello.test.localhost:${port}/x`);
});

test("a droplet whose certificate is for another name, or by another CA, is not believed", async () => {
  const other = await visit("other.test.localhost");
  assert.equal(other.status, 502);
  assert.match(other.body, /its certificate is not good/);
  const known = droplets;
  droplets = await openAuthority(join(folder, "strangers"), "strangers", "test");
  assert.match((await visit("hello.test.localhost")).body, /its certificate is not good/);
  droplets = known;
  assert.equal((await visit("hello.test.localhost")).status, 200);
});

test("names that are not below localhost get no handshake", async () => {
  await assert.rejects(visit("hello.test"));
});

test("the gateway's root is kept, for its owner alone, and good for names below localhost alone", async () => {
  assert.equal((await openGatewayAuthority(settings)).certificate, root);
  assert.equal(statSync(dirname(dirname(gatewayRootFile(settings)))).mode & 0o777, 0o700);
  assert.match(new X509Certificate(root).subject, /chillbox local gateway/);
  const { key, certificate } = await (await openGatewayAuthority(settings)).issue(["bank.test"]);
  const server = createServer({ key, cert: certificate });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const options = {
    host: "127.0.0.1",
    port: (server.address() as AddressInfo).port,
    servername: "bank.test",
    ca: root,
  };
  const refused = new Promise((_, reject) => request(options).once("error", reject).end());
  await assert.rejects(refused, /permitted subtree violation/);
  server.close();
});

test("cloud trust shows where the roots are, by what they are known, and themselves", async () => {
  await assert.rejects(describeRoots(settings, false), /no certificates yet/);
  const { roots } = acmeFiles(join(settings.cloud, "acme"));
  mkdirSync(dirname(roots), { recursive: true });
  writeFileSync(roots, droplets.certificate);
  const shown = await describeRoots(settings, false);
  for (const [file, pem] of [
    [gatewayRootFile(settings), root],
    [roots, droplets.certificate],
  ] as const) {
    assert.ok(shown.includes(`  ${file}\n`), shown);
    assert.ok(shown.includes(new X509Certificate(pem).fingerprint256), shown);
  }
  assert.equal(await describeRoots(settings, true), root + droplets.certificate);
});
