import assert from "node:assert/strict";
import { connect } from "node:net";
import { test } from "node:test";
import { eventually, type Json, publicKey, TestApi, token } from "./api/support.ts";

const head = `Host: api.test\r\nAuthorization: Bearer ${token}\r\nContent-Type: application/json\r\n`;

/** Sends bytes and gives all that comes back; `cut` drops the connection right after sending. */
function raw(api: TestApi, bytes: string, cut = false): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    const socket = connect(Number(new URL(api.url).port), "127.0.0.1", () => {
      socket.write(bytes, () => cut && socket.destroy());
    });
    socket.setTimeout(3000, () => socket.destroy());
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
}

function post(path: string, body: string): string {
  return `POST ${path} HTTP/1.1\r\n${head}Connection: close\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

test("a create whose answer got lost has taken effect once, and its repetition is told so", async (t) => {
  const api = await TestApi.start(t);
  const vpc = JSON.stringify({ name: "net", region: "nyc3" });
  await raw(api, post("/v2/vpcs", vpc), true);
  await eventually(() => assert.equal(api.store.vpcs.all().length, 1));
  await api.refused(422, /same name/, "POST", "/v2/vpcs", { name: "net", region: "nyc3" });
  await raw(api, post("/v2/account/keys", JSON.stringify({ name: "k", public_key: publicKey })), true);
  await eventually(() => assert.equal(api.store.sshKeys.all().length, 1));
  await api.refused(422, /already in use/, "POST", "/v2/account/keys", { name: "k", public_key: publicKey });
  // A tag is made by whoever comes first.
  await raw(api, post("/v2/tags", JSON.stringify({ name: "web" })), true);
  await eventually(() => assert.equal(api.store.tags.all().length, 1));
  await api.ok("POST", "/v2/tags", { name: "web" });
  // Droplets may share a name: the repetition is a second one, as at DigitalOcean, and both are there to be found.
  const droplet = await api.dropletBody();
  await raw(api, post("/v2/droplets", JSON.stringify(droplet)), true);
  await eventually(() => assert.equal(api.store.droplets.all().length, 1));
  await api.ok("POST", "/v2/droplets", droplet);
  assert.equal((await api.ok("GET", "/v2/droplets?name=web-1")).meta.total, 2);
  const { id } = api.store.droplets.all()[0] ?? assert.fail();
  await raw(api, `DELETE /v2/droplets/${id} HTTP/1.1\r\n${head}\r\n`, true);
  await eventually(() => assert.equal(api.store.droplets.get(id), undefined));
});

test("a request that was cut off has no effect", async (t) => {
  const api = await TestApi.start(t);
  const whole = post("/v2/tags", JSON.stringify({ name: "never-made" }));
  await raw(api, whole.slice(0, -4), true);
  await api.ok("POST", "/v2/tags", { name: "made" });
  assert.deepEqual(
    (await api.ok("GET", "/v2/tags")).tags.map((tag: Json) => tag.name),
    ["made"],
  );
});

test("many creates at once: names stay unique, addresses are given once", async (t) => {
  const api = await TestApi.start(t);
  const vpcs = await Promise.all(
    Array.from({ length: 20 }, () => api.call("POST", "/v2/vpcs", { name: "same", region: "nyc3" })),
  );
  assert.deepEqual(vpcs.map((answer) => answer.status).sort(), [201, ...Array<number>(19).fill(422)]);
  const body = await api.dropletBody();
  const droplets = await Promise.all(Array.from({ length: 20 }, () => api.ok("POST", "/v2/droplets", body)));
  const addresses = droplets.flatMap(({ droplet }) => droplet.networks.v4.map((one: Json) => one.ip_address));
  assert.equal(new Set(addresses).size, 40);
  const tags = await Promise.all(["Web", "WEB", "web"].map((name) => api.ok("POST", "/v2/tags", { name })));
  assert.equal(new Set(tags.map(({ tag }) => tag.name)).size, 1);
});

test("bodies of the wrong type are refused with 4xx, never 500", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const { vpc } = await api.ok("POST", "/v2/vpcs", { name: "net", region: "nyc3" });
  const { reserved_ip: reserved } = await api.ok("POST", "/v2/reserved_ips", { region: "nyc3" });
  const rule = { protocol: "tcp", ports: "22", sources: { addresses: ["0.0.0.0/0"] } };
  const { firewall } = await api.ok("POST", "/v2/firewalls", { name: "fw", inbound_rules: [rule] });
  const { key } = await api.ok("POST", "/v2/spaces/keys", { name: "k", grants: [] });
  await api.ok("POST", "/v2/domains", { name: "hello.test" });
  await api.ok("POST", "/v2/tags", { name: "web" });
  const [record] = (await api.ok("GET", "/v2/domains/hello.test/records")).domain_records;
  const [image] = (await api.ok("GET", "/v2/images")).images;
  const calls: [string, string, string[]][] = [
    ["POST", "/v2/account/keys", ["name", "public_key"]],
    [
      "POST",
      "/v2/droplets",
      ["name", "names", "size", "image", "ssh_keys", "tags", "user_data", "vpc_uuid", "region", "volumes"],
    ],
    ["POST", `/v2/droplets/${id}/actions`, ["type", "name", "size"]],
    ["POST", "/v2/vpcs", ["name", "region", "ip_range", "description"]],
    ["PUT", `/v2/vpcs/${vpc.id}`, ["name", "description", "default"]],
    ["POST", "/v2/firewalls", ["name", "inbound_rules", "outbound_rules", "droplet_ids", "tags"]],
    ["POST", `/v2/firewalls/${firewall.id}/rules`, ["inbound_rules", "outbound_rules"]],
    ["DELETE", `/v2/firewalls/${firewall.id}/droplets`, ["droplet_ids"]],
    ["POST", `/v2/firewalls/${firewall.id}/tags`, ["tags"]],
    ["POST", "/v2/tags", ["name"]],
    ["POST", "/v2/tags/web/resources", ["resources"]],
    ["POST", "/v2/projects", ["name", "purpose", "environment"]],
    ["PATCH", "/v2/projects/default", ["name", "is_default", "purpose"]],
    ["POST", "/v2/projects/default/resources", ["resources"]],
    ["POST", "/v2/domains", ["name", "ip_address"]],
    ["POST", "/v2/domains/hello.test/records", ["type", "name", "data", "priority", "ttl"]],
    ["PUT", `/v2/domains/hello.test/records/${record.id}`, ["name", "data", "ttl", "type"]],
    ["POST", "/v2/reserved_ips", ["region", "droplet_id", "project_id"]],
    ["POST", `/v2/reserved_ips/${reserved.ip}/actions`, ["type", "droplet_id"]],
    ["POST", "/v2/spaces/keys", ["name", "grants"]],
    ["PUT", `/v2/spaces/keys/${key.access_key}`, ["name", "grants"]],
    ["POST", "/v2/images", ["name", "url", "region", "tags", "distribution"]],
    ["PUT", `/v2/images/${image.id}`, ["name", "distribution"]],
    ["POST", `/v2/images/${image.id}/actions`, ["type", "region"]],
  ];
  const values: Json[] = [
    null,
    true,
    -1,
    1.5,
    1e300,
    "",
    "\u0000",
    "x".repeat(100_000),
    [],
    [[]],
    [null],
    [{}],
    {},
    { length: 1 },
    { toString: 1 },
  ];
  for (const [method, path, fields] of calls) {
    for (const whole of [null, true, 7, "text", [], [{}], {}]) await expectRefusal(method, path, whole);
    for (const field of fields) for (const value of values) await expectRefusal(method, path, { [field]: value }, true);
  }
  for (const sources of [[], "x", 5, { addresses: [5] }, { tags: {} }, { droplet_ids: ["1"] }]) {
    await expectRefusal("POST", "/v2/firewalls", { name: "fx", inbound_rules: [{ ...rule, sources }] });
  }
  for (const resource of [null, 5, [], {}, { resource_id: null }, { resource_id: "1", resource_type: "volume" }]) {
    await expectRefusal("POST", "/v2/tags/web/resources", { resources: [resource] });
  }

  async function expectRefusal(method: string, path: string, body: Json, maySucceed = false): Promise<void> {
    const { status, body: answer } = await api.call(method, path, body);
    const isFine =
      (status >= 400 && status < 500) ||
      status === 501 ||
      (maySucceed && status < 300) ||
      (method !== "POST" && status < 300);
    assert.ok(isFine, `${method} ${path} ${JSON.stringify(body).slice(0, 200)}: ${status} ${JSON.stringify(answer)}`);
  }
});

test("text that is no JSON, or dangerous JSON, is refused", async (t) => {
  const api = await TestApi.start(t);
  for (const body of [
    "{",
    "{'name':1}",
    '{"name":"a"',
    "\u0000",
    "name=a",
    '{"__proto__":{"name":"a"}}',
    '{"constructor":{"prototype":{}}}',
    "NaN",
  ]) {
    assert.match(await raw(api, post("/v2/tags", body)), /^HTTP\/1\.1 400 /, body);
  }
  assert.match(await raw(api, post("/v2/tags", `${"[".repeat(200_000)}`)), /^HTTP\/1\.1 4/);
  assert.match(
    await raw(api, post("/v2/tags", `{"name":${"[".repeat(50_000)}${"]".repeat(50_000)}}`)),
    /^HTTP\/1\.1 4/,
  );
  const form = post("/v2/tags", "name=a").replace("application/json", "application/x-www-form-urlencoded");
  assert.match(await raw(api, form), /^HTTP\/1\.1 415 /);
  assert.deepEqual((await api.ok("GET", "/v2/tags")).tags, []);
});

test("huge bodies, heads and slow lies are cut off", async (t) => {
  const api = await TestApi.start(t);
  const { status, body } = await api.call("POST", "/v2/tags", { name: "x".repeat(2 * 1024 * 1024) });
  assert.deepEqual([status, body.id], [413, "payload_too_large"]);
  const lie = `POST /v2/tags HTTP/1.1\r\n${head}Content-Length: 99999999999\r\n\r\n{`;
  assert.match(await raw(api, lie), /^HTTP\/1\.1 413 /);
  const longHead = `GET /v2/tags HTTP/1.1\r\n${head}X-Long: ${"x".repeat(40_000)}\r\n\r\n`;
  assert.match(await raw(api, longHead), /^HTTP\/1\.1 431 |^$/);
  const smuggled = `POST /v2/tags HTTP/1.1\r\n${head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
  assert.match(await raw(api, smuggled), /^HTTP\/1\.1 400 |^$/);
  await api.ok("GET", "/v2/account");
});

test("tricks with paths reach nothing", async (t) => {
  const api = await TestApi.start(t);
  await api.addDroplet();
  const paths = [
    "/v2/droplets/10001/../../../etc/passwd",
    "/v2/droplets/%2e%2e%2f%2e%2e",
    "/v2/droplets/10001%00",
    "/v2/droplets/10001;x",
    "/v2/droplets/0x2711",
    "/v2/droplets/1e4",
    "/v2/droplets/-1",
    "/v2/droplets/+10001",
    "/v2/droplets/ 10001",
    "/v2/droplets/999999999999999999999999",
    "/v2/droplets/__proto__",
    "/v2/vpcs/constructor",
    "/v2/tags/..",
    "/v2/tags/%E0%A4%A",
    "/v2//droplets",
    "/V2/droplets",
    `/v2/tags/${"x".repeat(5000)}`,
    "/v2/account/keys/' OR 1=1 --",
    "/v2/spaces/keys/%27%20OR%201%3D1",
  ];
  for (const path of paths) {
    const answer = await raw(api, `GET ${path} HTTP/1.1\r\n${head}Connection: close\r\n\r\n`);
    assert.match(answer, /^HTTP\/1\.1 (400|404|501|414) /, path);
  }
});

test("a query with a name twice counts the last", async (t) => {
  const api = await TestApi.start(t);
  await api.addDroplet({ tags: ["web"] });
  assert.equal((await api.ok("GET", "/v2/droplets?tag_name=none&tag_name=web")).meta.total, 1);
  assert.equal((await api.ok("GET", "/v2/droplets?__proto__=x&tag_name[]=web")).meta.total, 1);
});

test("what the API tells of a failure names nothing inside", async (t) => {
  const api = await TestApi.start(t);
  const rule = { protocol: "tcp", ports: "22", sources: { addresses: ["0.0.0.0/0"] } };
  const droplet = await api.addDroplet();
  api.network.failing = true;
  // A change that the network has no part in does not need it.
  await api.ok("POST", "/v2/tags", { name: "fine" });
  const { status, body } = await api.call("POST", "/v2/firewalls", {
    name: "fw",
    inbound_rules: [rule],
    droplet_ids: [droplet.id],
  });
  assert.equal(status, 500);
  assert.deepEqual([body.id, body.message], ["server_error", "Unexpected server-side error"]);
  assert.ok(api.logged.some((line) => line.includes("the network fails")));
  assert.ok(!api.logged.some((line) => line.includes(token)));
});
