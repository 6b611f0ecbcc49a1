import assert from "node:assert/strict";
import { test } from "node:test";
import { makeSpacesKeys } from "../../local-cloud/api/index.ts";
import { makeZones } from "../../local-cloud/api/zones.ts";
import { type Json, publicKey, TestApi } from "./api/support.ts";

test("ssh keys: made, found by id and fingerprint, renamed, deleted", async (t) => {
  const api = await TestApi.start(t);
  const sent = `${publicKey}  \n`;
  const { ssh_key: key } = await api.ok("POST", "/v2/account/keys", { name: "one", public_key: sent });
  assert.equal(key.public_key, sent);
  assert.match(key.fingerprint, /^([0-9a-f]{2}:){15}[0-9a-f]{2}$/);
  assert.deepEqual((await api.ok("GET", `/v2/account/keys/${key.fingerprint}`)).ssh_key, key);
  await api.refused(422, /already in use/, "POST", "/v2/account/keys", { name: "two", public_key: publicKey });
  assert.equal((await api.ok("PUT", `/v2/account/keys/${key.id}`, { name: "two" })).ssh_key.name, "two");
  assert.equal((await api.ok("GET", "/v2/account/keys")).ssh_keys.length, 1);
  await api.ok("DELETE", `/v2/account/keys/${key.id}`);
  await api.refused(404, /could not be found/, "GET", `/v2/account/keys/${key.id}`);
});

test("ssh keys: what is no public key is refused", async (t) => {
  const api = await TestApi.start(t);
  const keys = [
    "nonsense",
    "ssh-ed25519",
    "ssh-ed25519 AAAA",
    "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIDk1N6bTPf2Zf1IqBEYI2o8J7mIzPcJ0zcBZuRl0m7dU",
    `${publicKey}\nssh-ed25519 AAAA`,
    `command="sh" ${publicKey}`,
  ];
  for (const key of keys) {
    await api.refused(422, /Key invalid/, "POST", "/v2/account/keys", { name: "x", public_key: key });
  }
  await api.refused(422, /required|name/, "POST", "/v2/account/keys", { public_key: publicKey });
});

test("VPCs: ranges of their own, members, update, delete", async (t) => {
  const api = await TestApi.start(t);
  const { vpc } = await api.ok("POST", "/v2/vpcs", { name: "one", region: "nyc3" });
  assert.equal(vpc.urn, `do:vpc:${vpc.id}`);
  assert.equal(vpc.ip_range, "198.18.32.0/24");
  assert.equal(vpc.default, false);
  const second = await api.ok("POST", "/v2/vpcs", { name: "two", region: "nyc3", description: "second" });
  assert.equal(second.vpc.ip_range, "198.18.33.0/24");
  await api.refused(422, /same name/, "POST", "/v2/vpcs", { name: "one", region: "nyc3" });
  await api.refused(422, /Region/, "POST", "/v2/vpcs", { name: "three", region: "mars1" });
  await api.refused(422, /198\.18\.32\.0\/19 only/, "POST", "/v2/vpcs", {
    name: "x",
    region: "nyc3",
    ip_range: "10.1.0.0/16",
  });
  await api.refused(422, /overlaps/, "POST", "/v2/vpcs", { name: "x", region: "nyc3", ip_range: "198.18.33.128/25" });
  await api.refused(422, /CIDR/, "POST", "/v2/vpcs", { name: "x", region: "nyc3", ip_range: "198.18.40.1/24" });
  const own = await api.ok("POST", "/v2/vpcs", { name: "own", region: "nyc3", ip_range: "198.18.40.0/28" });
  assert.equal(own.vpc.ip_range, "198.18.40.0/28");

  const renamed = await api.ok("PUT", `/v2/vpcs/${vpc.id}`, { name: "uno", description: "first", default: false });
  assert.deepEqual([renamed.vpc.name, renamed.vpc.description, renamed.vpc.default], ["uno", "first", false]);
  const patched = await api.ok("PATCH", `/v2/vpcs/${vpc.id}`, { name: "eins" });
  assert.deepEqual([patched.vpc.name, patched.vpc.description], ["eins", "first"]);

  const droplet = await api.addDroplet({ vpc_uuid: vpc.id });
  const { members } = await api.ok("GET", `/v2/vpcs/${vpc.id}/members`);
  assert.deepEqual(
    members.map((member: Json) => member.urn),
    [`do:droplet:${droplet.id}`],
  );
  await api.refused(403, /members/, "DELETE", `/v2/vpcs/${vpc.id}`);
  await api.ok("DELETE", `/v2/vpcs/${second.vpc.id}`);
  await api.refused(404, /could not be found/, "GET", `/v2/vpcs/${second.vpc.id}`);
});

test("tags: an existing one is no error, the first spelling stays, resources are counted", async (t) => {
  const api = await TestApi.start(t);
  const { tag } = await api.ok("POST", "/v2/tags", { name: "Web" });
  for (const kind of ["droplets", "images", "volumes", "volume_snapshots", "databases"]) {
    assert.equal(tag.resources[kind].count, 0, kind);
  }
  assert.equal((await api.ok("POST", "/v2/tags", { name: "WEB" })).tag.name, "Web");
  assert.equal((await api.ok("GET", "/v2/tags")).tags.length, 1);
  const droplet = await api.addDroplet({ tags: ["web", "made-on-demand"] });
  assert.deepEqual(droplet.tags, ["Web", "made-on-demand"]);
  assert.equal((await api.ok("GET", "/v2/tags/web")).tag.resources.droplets.count, 1);

  const resources = [{ resource_id: String(droplet.id), resource_type: "droplet" }];
  await api.ok("DELETE", "/v2/tags/Web/resources", { resources });
  assert.equal((await api.ok("GET", "/v2/tags/Web")).tag.resources.count, 0);
  await api.ok("POST", "/v2/tags/web/resources", { resources });
  assert.deepEqual((await api.ok("GET", `/v2/droplets?tag_name=WEB`)).droplets[0].tags, ["made-on-demand", "Web"]);
  await api.ok("DELETE", "/v2/tags/web");
  assert.deepEqual((await api.ok("GET", `/v2/droplets/${droplet.id}`)).droplet.tags, ["made-on-demand"]);
  await api.refused(404, /could not be found/, "POST", "/v2/tags/web/resources", { resources });
  await api.refused(422, /./, "POST", "/v2/tags", { name: "white space" });
});

test("projects: a default one, resources move, one with resources stays", async (t) => {
  const api = await TestApi.start(t);
  const standard = (await api.ok("GET", "/v2/projects/default")).project;
  assert.equal(standard.is_default, true);
  const body = { name: "site", description: "", purpose: "Other: fun", environment: "" };
  const { project } = await api.ok("POST", "/v2/projects", body);
  assert.equal(project.purpose, "fun");
  await api.refused(409, /in use/, "POST", "/v2/projects", body);

  const droplet = await api.addDroplet();
  const urn = `do:droplet:${droplet.id}`;
  const urns = async (id: string) =>
    (await api.ok("GET", `/v2/projects/${id}/resources?page=1&per_page=200`)).resources.map((one: Json) => one.urn);
  assert.deepEqual(await urns("default"), [urn]);
  const assign = { resources: [urn, "do:space:my-bucket", "do:droplet:99"] };
  const { resources } = await api.ok("POST", `/v2/projects/${project.id}/resources`, assign);
  assert.deepEqual(
    resources.map((one: Json) => one.status),
    ["assigned", "assigned", "not_found"],
  );
  assert.deepEqual(await urns(project.id), [urn, "do:space:my-bucket"]);
  assert.deepEqual(await urns(standard.id), []);
  const again = await api.ok("POST", `/v2/projects/${project.id}/resources`, { resources: [urn] });
  assert.equal(again.resources[0].status, "already_assigned");
  await api.refused(422, /resources/, "POST", `/v2/projects/${project.id}/resources`, {
    resources: ["do:reservedip:198.18.0.9"],
  });

  const nulls = { name: "site2", description: null, purpose: null, environment: null, is_default: false };
  assert.equal((await api.ok("PATCH", `/v2/projects/${project.id}`, nulls)).project.name, "site2");
  await api.refused(412, /cannot delete a project with resources/, "DELETE", `/v2/projects/${project.id}`);
  await api.ok("POST", "/v2/projects/default/resources", { resources: [urn, "do:space:my-bucket"] });
  await api.ok("DELETE", `/v2/projects/${project.id}`);
  await api.refused(412, /default/, "DELETE", `/v2/projects/${standard.id}`);
  await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  assert.deepEqual(await urns("default"), ["do:space:my-bucket"]);
});

test("projects: another one can become the default", async (t) => {
  const api = await TestApi.start(t);
  const { project } = await api.ok("POST", "/v2/projects", { name: "new", purpose: "Web", environment: "Production" });
  await api.ok("PATCH", `/v2/projects/${project.id}`, { is_default: true });
  assert.equal((await api.ok("GET", "/v2/projects/default")).project.id, project.id);
  const { projects } = await api.ok("GET", "/v2/projects");
  assert.equal(projects.filter((one: Json) => one.is_default).length, 1);
});

test("domains: SOA and name servers from the beginning, records of every kind", async (t) => {
  const api = await TestApi.start(t);
  const { domain } = await api.ok("POST", "/v2/domains", { name: "Hello.Test", ip_address: "198.18.0.9" });
  assert.equal(domain.name, "hello.test");
  assert.equal(domain.ttl, 1800);
  assert.match(domain.zone_file, /hello\.test\. 1800 IN A 198\.18\.0\.9/);
  await api.refused(422, /exists/, "POST", "/v2/domains", { name: "hello.test" });
  const { domain_records: first } = await api.ok("GET", "/v2/domains/hello.test/records");
  assert.deepEqual(
    first.map((record: Json) => record.type),
    ["SOA", "NS", "NS", "NS", "A"],
  );

  // As godo sends them: zeros for numbers that the type does not use.
  const zeros = { priority: 0, port: 0, weight: 0, flags: 0 };
  const add = async (record: Json) =>
    (await api.ok("POST", "/v2/domains/hello.test/records", { ...zeros, ...record })).domain_record;
  const cname = await add({ type: "CNAME", name: "www", data: "hello.test." });
  assert.deepEqual([cname.name, cname.data, cname.ttl, cname.priority], ["www", "hello.test", 1800, null]);
  const mx = await add({ type: "MX", name: "@", data: "mail.hello.test.", priority: 10, ttl: 300 });
  assert.deepEqual([mx.data, mx.priority, mx.ttl], ["mail.hello.test", 10, 300]);
  const srv = await add({ type: "SRV", name: "_sip._tcp", data: "@", priority: 0, port: 5060, weight: 5 });
  assert.deepEqual([srv.data, srv.port, srv.weight, srv.priority], ["@", 5060, 5, 0]);
  const caa = await add({ type: "CAA", name: "@", data: "letsencrypt.org.", flags: 0, tag: "issue" });
  assert.deepEqual([caa.data, caa.flags, caa.tag], ["letsencrypt.org", 0, "issue"]);
  await add({ type: "TXT", name: "@", data: 'v=spf1 "-all"' });
  await add({ type: "AAAA", name: "six.hello.test.", data: "2001:db8::1" });
  const wild = await add({ type: "A", name: "*", data: "198.18.0.10" });

  const byName = await api.ok("GET", "/v2/domains/hello.test/records?name=www.hello.test&type=CNAME");
  assert.deepEqual(
    byName.domain_records.map((record: Json) => record.id),
    [cname.id],
  );
  const { type: _, ...fields } = { ...wild, data: "198.18.0.11", ttl: 60 };
  const changed = (await api.ok("PUT", `/v2/domains/hello.test/records/${wild.id}`, fields)).domain_record;
  assert.deepEqual([changed.type, changed.data, changed.ttl], ["A", "198.18.0.11", 60]);
  const patched = (await api.ok("PATCH", `/v2/domains/hello.test/records/${cname.id}`, { ttl: 90 })).domain_record;
  assert.deepEqual([patched.data, patched.ttl], ["hello.test", 90]);

  const zones = makeZones(api.store);
  const lookup = (name: string) => zones.lookup(name).map(({ type, data }) => `${type} ${data}`);
  assert.deepEqual(lookup("WWW.hello.test"), ["CNAME hello.test"]);
  assert.deepEqual(lookup("nothing.hello.test"), ["A 198.18.0.11"]);
  assert.deepEqual(lookup("six.hello.test"), ["AAAA 2001:db8::1"]);
  assert.deepEqual(lookup("_tcp.hello.test"), []);
  assert.deepEqual(zones.lookup("_sip._tcp.hello.test")[0], {
    type: "SRV",
    ttl: 1800,
    data: "hello.test",
    priority: 0,
    port: 5060,
    weight: 5,
  });
  assert.ok(lookup("hello.test").some((line) => line.startsWith("SOA ns1.digitalocean.com. ")));
  assert.equal(zones.holds("a.b.hello.test"), true);
  assert.equal(zones.holds("xhello.test"), false);

  await api.ok("DELETE", `/v2/domains/hello.test/records/${cname.id}`);
  await api.refused(404, /could not be found/, "GET", `/v2/domains/hello.test/records/${cname.id}`);
  await api.ok("DELETE", "/v2/domains/hello.test");
  assert.equal(zones.holds("hello.test"), false);
  await api.refused(404, /could not be found/, "GET", "/v2/domains/hello.test/records");
});

test("domains: records that make no sense are refused", async (t) => {
  const api = await TestApi.start(t);
  await api.ok("POST", "/v2/domains", { name: "hello.test" });
  const refused = (message: RegExp, record: Json) =>
    api.refused(422, message, "POST", "/v2/domains/hello.test/records", record);
  await refused(/IPv4 format/, { type: "A", name: "@", data: "300.1.1.1" });
  await refused(/IPv6 format/, { type: "AAAA", name: "@", data: "198.18.0.1" });
  await refused(/end with a dot/, { type: "CNAME", name: "www", data: "hello.test" });
  await refused(/share a name/, { type: "CNAME", name: "@", data: "hello.test." });
  await refused(/TTL/, { type: "A", name: "@", data: "198.18.0.1", ttl: 5 });
  await refused(/hostname characters/, { type: "A", name: "a b", data: "198.18.0.1" });
  await refused(/Type must be/, { type: "SOA", name: "@", data: "x" });
  await refused(/Type must be/, { type: "PTR", name: "@", data: "x." });
  await refused(/priority/, { type: "MX", name: "@", data: "mail.hello.test.", priority: 70000 });
  await refused(/Tag/, { type: "CAA", name: "@", data: "letsencrypt.org.", flags: 0, tag: "evil" });
  for (const name of ["", "test", "a..test", "-a.test", "a b.test", `${"a".repeat(64)}.test`, "a.test/../b.test"]) {
    await api.refused(422, /./, "POST", "/v2/domains", { name });
  }
});

test("Spaces keys: the secret is told once, grants keep their order", async (t) => {
  const api = await TestApi.start(t);
  const grants = [
    { bucket: "b-bucket", permission: "readwrite" },
    { bucket: "a-bucket", permission: "read" },
  ];
  const { key } = await api.ok("POST", "/v2/spaces/keys", { name: "scoped", grants });
  assert.match(key.access_key, /^DO[A-Z0-9]{18}$/);
  assert.match(key.secret_key, /^[A-Za-z0-9+/]{43}$/);
  assert.deepEqual(key.grants, grants);
  const read = (await api.ok("GET", `/v2/spaces/keys/${key.access_key}`)).key;
  assert.equal(read.secret_key, undefined);
  assert.deepEqual(read.grants, grants);
  assert.equal((await api.ok("GET", "/v2/spaces/keys")).keys[0].secret_key, undefined);
  const keys = makeSpacesKeys(api.store);
  assert.deepEqual(keys.find(key.access_key), { secretKey: key.secret_key, grants });

  const less = { name: "less", grants: grants.slice(0, 1) };
  assert.deepEqual((await api.ok("PUT", `/v2/spaces/keys/${key.access_key}`, less)).key.grants, less.grants);
  assert.equal((await api.ok("PATCH", `/v2/spaces/keys/${key.access_key}`, { name: "n" })).key.name, "n");
  assert.deepEqual(keys.find(key.access_key)?.grants, less.grants);
  const full = [{ bucket: "", permission: "fullaccess" }];
  await api.refused(400, /between fullaccess and scoped/, "PUT", `/v2/spaces/keys/${key.access_key}`, {
    name: "x",
    grants: full,
  });
  const mixed = { name: "x", grants: [...grants, ...full] };
  await api.refused(400, /cannot mix fullaccess/, "POST", "/v2/spaces/keys", mixed);
  await api.refused(400, /permission/, "POST", "/v2/spaces/keys", {
    name: "x",
    grants: [{ bucket: "b-b", permission: "own" }],
  });
  await api.refused(400, /bucket/, "POST", "/v2/spaces/keys", {
    name: "x",
    grants: [{ bucket: "../x", permission: "read" }],
  });
  assert.deepEqual((await api.ok("POST", "/v2/spaces/keys", { name: "none", grants: [] })).key.grants, []);
  await api.ok("DELETE", `/v2/spaces/keys/${key.access_key}`);
  assert.equal(keys.find(key.access_key), undefined);
});

test("reserved IPs: assigned, moved, given back; the network follows", async (t) => {
  const api = await TestApi.start(t);
  const droplet = await api.addDroplet();
  const address = droplet.networks.v4.find((one: Json) => one.type === "public").ip_address;
  const { reserved_ip: reserved } = await api.ok("POST", "/v2/reserved_ips", { region: "nyc3" });
  assert.equal(reserved.droplet, null);
  assert.notEqual(reserved.ip, address);
  const actions = `/v2/reserved_ips/${reserved.ip}/actions`;
  const { action } = await api.ok("POST", actions, { type: "assign", droplet_id: droplet.id });
  assert.equal(action.status, "completed");
  assert.deepEqual(api.network.reserved, [{ address: reserved.ip, dropletAddress: address }]);
  const shown = (await api.ok("GET", `/v2/reserved_ips/${reserved.ip}`)).reserved_ip;
  assert.equal(shown.droplet.region.slug, "nyc3");
  assert.equal((await api.ok("GET", `${actions}/${action.id}`)).action.id, action.id);
  assert.equal((await api.ok("GET", actions)).actions.length, 1);
  await api.refused(422, /already has/, "POST", "/v2/reserved_ips", { droplet_id: droplet.id });
  await api.refused(422, /could not be found/, "POST", actions, { type: "assign", droplet_id: 77 });
  await api.refused(422, /droplet_id|could not be found/, "POST", actions, { type: "assign" });

  await api.ok("POST", actions, { type: "unassign" });
  assert.deepEqual(api.network.reserved, []);
  await api.refused(422, /not assigned/, "POST", actions, { type: "unassign" });
  await api.ok("POST", actions, { type: "assign", droplet_id: droplet.id });
  await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  assert.equal((await api.ok("GET", `/v2/reserved_ips/${reserved.ip}`)).reserved_ip.droplet, null);
  await api.ok("DELETE", `/v2/reserved_ips/${reserved.ip}`);
  await api.refused(404, /could not be found/, "GET", `/v2/reserved_ips/${reserved.ip}`);
});

test("snapshots: there are none", async (t) => {
  const api = await TestApi.start(t);
  assert.deepEqual((await api.ok("GET", "/v2/snapshots")).snapshots, []);
  await api.refused(404, /could not be found/, "GET", "/v2/snapshots/1");
});
