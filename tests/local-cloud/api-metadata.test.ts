import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { createMetadata } from "../../local-cloud/metadata/index.ts";
import { publicKey, TestApi } from "./api/support.ts";

async function start(t: TestContext, changes = {}) {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet({ tags: ["web", "blue"], user_data: "#!/bin/sh\necho ü\n", ...changes });
  const droplet = api.store.droplets.get(id) ?? assert.fail();
  const metadata = createMetadata({ store: api.store });
  const get = (url: string, remoteAddress = droplet.publicNic.address) => metadata.inject({ url, remoteAddress });
  return { api, droplet, get };
}

test("single values are bare text", async (t) => {
  const { droplet, get } = await start(t);
  const { publicNic, privateNic } = droplet;
  const expected = {
    id: String(droplet.id),
    hostname: "web-1",
    "user-data": "#!/bin/sh\necho ü\n",
    "public-keys": publicKey,
    region: "nyc3",
    "interfaces/public/0/mac": publicNic.mac,
    "interfaces/public/0/type": "public",
    "interfaces/public/0/ipv4/address": publicNic.address,
    "interfaces/public/0/ipv4/netmask": "255.255.255.0",
    "interfaces/public/0/ipv4/gateway": "198.18.0.1",
    "interfaces/private/0/mac": privateNic.mac,
    "interfaces/private/0/ipv4/address": privateNic.address,
    "dns/nameservers": "198.18.0.1",
    "floating_ip/ipv4/active": "false",
    "reserved_ip/ipv4/active": "false",
    "reserved_ip/ipv6/active": "false",
    "features/dhcp_enabled": "true",
  };
  for (const [path, text] of Object.entries(expected)) {
    const answer = await get(`/metadata/v1/${path}`);
    assert.equal(answer.statusCode, 200, path);
    assert.equal(answer.body, text, path);
    assert.match(String(answer.headers["content-type"]), /^text\/plain/);
  }
});

test("an index is one child a line; without its slash it is moved there", async (t) => {
  const { get } = await start(t);
  assert.equal((await get("/metadata/v1/interfaces/")).body, "private/\npublic/");
  assert.equal((await get("/metadata/v1/interfaces/public/0/ipv4/")).body, "address\nnetmask\ngateway");
  assert.equal((await get("/metadata/v1/tags/")).body, "web\nblue");
  assert.match((await get("/metadata/v1/")).body, /^id\nhostname\nuser-data\n/);
  for (const path of ["/metadata/v1", "/metadata/v1/interfaces", "/metadata/v1/interfaces/public/0"]) {
    const answer = await get(path);
    assert.deepEqual([answer.statusCode, answer.headers.location], [301, `${path}/`]);
  }
});

test("v1.json is one object", async (t) => {
  const { droplet, get } = await start(t);
  const answer = await get("/metadata/v1.json");
  assert.match(String(answer.headers["content-type"]), /^application\/json/);
  const json = answer.json();
  assert.equal(json.droplet_id, droplet.id);
  assert.equal(json.user_data, "#!/bin/sh\necho ü\n");
  assert.deepEqual(json.public_keys, [publicKey]);
  assert.equal(json.interfaces.public[0].ipv4.ip_address, droplet.publicNic.address);
  assert.equal(json.interfaces.private[0].mac, droplet.privateNic.mac);
  assert.equal(json.reserved_ip.ipv4.active, false);
  assert.equal(json.features.dhcp_enabled, true);
});

test("without user-data there is none", async (t) => {
  const { get } = await start(t, { user_data: undefined });
  const answer = await get("/metadata/v1/user-data");
  assert.deepEqual([answer.statusCode, answer.body], [404, "404 Not Found"]);
  assert.ok(!("user_data" in (await get("/metadata/v1.json")).json()));
  assert.ok(!(await get("/metadata/v1/")).body.includes("user-data"));
});

test("reserved address and tags follow changes, the hostname does not", async (t) => {
  const { api, droplet, get } = await start(t);
  const { reserved_ip: reserved } = await api.ok("POST", "/v2/reserved_ips", { droplet_id: droplet.id });
  await api.ok("POST", `/v2/droplets/${droplet.id}/actions`, { type: "rename", name: "other" });
  await api.ok("DELETE", "/v2/tags/blue");
  assert.equal((await get("/metadata/v1/reserved_ip/ipv4/active")).body, "true");
  assert.equal((await get("/metadata/v1/floating_ip/ipv4/ip_address")).body, reserved.ip);
  assert.equal((await get("/metadata/v1/tags/")).body, "web");
  assert.equal((await get("/metadata/v1/hostname")).body, "web-1");
});

test("nobody else is told anything, and nothing but these paths is there", async (t) => {
  const { api, droplet, get } = await start(t);
  const strangers = ["127.0.0.1", "198.18.0.250", droplet.privateNic.address];
  for (const stranger of strangers) assert.equal((await get("/metadata/v1/user-data", stranger)).statusCode, 404);
  assert.equal((await get("/metadata/v1/id", `::ffff:${droplet.publicNic.address}`)).statusCode, 200);
  const paths = [
    "/",
    "/metadata",
    "/metadata/",
    "/metadata/v1/none",
    "/metadata/v1/id/",
    "/metadata/v1/id/x",
    "/metadata/v1/../../v2/account",
  ];
  const tricks = [
    "/metadata/v1/__proto__",
    "/metadata/v1/constructor",
    "/metadata/v1//id",
    "/metadata/v1/%2e%2e/",
    "/latest/meta-data/",
    "/%",
    "//evil.test/metadata/v1",
  ];
  for (const path of [...paths, ...tricks]) {
    const answer = await get(path);
    assert.equal(answer.statusCode, 404, path);
    assert.ok(!answer.headers.location, path);
  }
  const metadata = createMetadata({ store: api.store });
  for (const method of ["POST", "PUT", "DELETE"] as const) {
    const answer = await metadata.inject({
      method,
      url: "/metadata/v1/id",
      remoteAddress: droplet.publicNic.address,
      payload: "{}",
    });
    assert.equal(answer.statusCode, 404);
  }
  // Headers that name another sender change nothing.
  const headers = { "x-forwarded-for": droplet.publicNic.address, forwarded: `for=${droplet.publicNic.address}` };
  assert.equal(
    (await metadata.inject({ url: "/metadata/v1/id", remoteAddress: "198.18.0.99", headers })).statusCode,
    404,
  );
  await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  assert.equal((await get("/metadata/v1/id")).statusCode, 404);
});

test("the maintenance event is empty", async (t) => {
  const { get } = await start(t);
  const answer = await get("/v1/maintenance_event");
  assert.deepEqual([answer.statusCode, answer.body], [200, ""]);
});
