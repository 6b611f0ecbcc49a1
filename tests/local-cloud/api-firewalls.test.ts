import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, type Json, TestApi } from "./api/support.ts";

const everywhere = { addresses: ["0.0.0.0/0", "::/0"] };
const ssh = { protocol: "tcp", ports: "22", sources: everywhere };
const addresses = (droplet: Json) => droplet.networks.v4.map((one: Json) => one.ip_address).sort();

test("a firewall comes back as it was sent", async (t) => {
  const api = await TestApi.start(t);
  await api.ok("POST", "/v2/tags", { name: "web" });
  const body = {
    name: "edge",
    inbound_rules: [
      ssh,
      { protocol: "tcp", ports: "8000-9000", sources: { addresses: ["198.18.0.0/24"], tags: ["web"] } },
      { protocol: "icmp", sources: { addresses: ["2001:db8::/32"] } },
    ],
    outbound_rules: [
      { protocol: "udp", ports: "all", destinations: everywhere },
      { protocol: "tcp", ports: "1-65535", destinations: everywhere },
    ],
    droplet_ids: null,
    tags: ["web"],
  };
  const created = await api.call("POST", "/v2/firewalls", body);
  assert.equal(created.status, 202);
  const { firewall } = created.body;
  assert.deepEqual(firewall.inbound_rules, [
    body.inbound_rules[0],
    body.inbound_rules[1],
    { ...body.inbound_rules[2], ports: "0" },
  ]);
  assert.deepEqual(
    firewall.outbound_rules.map((rule: Json) => rule.ports),
    ["0", "1-65535"],
  );
  assert.deepEqual([firewall.status, firewall.pending_changes, firewall.droplet_ids], ["succeeded", [], []]);
  assert.deepEqual((await api.ok("GET", `/v2/firewalls/${firewall.id}`)).firewall, firewall);
  const replaced = {
    name: "edge",
    inbound_rules: null,
    outbound_rules: body.outbound_rules,
    droplet_ids: null,
    tags: [],
  };
  const { firewall: second } = await api.ok("PUT", `/v2/firewalls/${firewall.id}`, replaced);
  assert.deepEqual([second.inbound_rules, second.tags, second.created_at], [[], [], firewall.created_at]);
  await api.ok("DELETE", `/v2/firewalls/${firewall.id}`);
  await api.refused(404, /could not be found/, "GET", `/v2/firewalls/${firewall.id}`);
});

test("a droplet is behind its firewall before it boots", async (t) => {
  const api = await TestApi.start(t);
  await api.ok("POST", "/v2/tags", { name: "web" });
  await api.ok("POST", "/v2/firewalls", { name: "edge", inbound_rules: [ssh], tags: ["web"] });
  assert.deepEqual(api.network.firewalls, []);
  const held: number[] = [];
  const create = api.driver.create.bind(api.driver);
  api.driver.create = async (spec) => {
    held.push(...api.network.firewalls.map((firewall) => firewall.dropletId));
    await create(spec);
  };
  const { id } = await api.addDroplet({ tags: ["WEB"] });
  assert.deepEqual(held, [id]);
  assert.deepEqual(api.network.firewalls, [
    {
      dropletId: id,
      inbound: [{ protocol: "tcp", ports: { from: 22, to: 22 }, addresses: ["0.0.0.0/0", "::/0"] }],
      outbound: [],
    },
  ]);
  const { firewalls } = await api.ok("GET", `/v2/droplets/${id}/firewalls`);
  assert.deepEqual(
    firewalls.map((one: Json) => one.name),
    ["edge"],
  );
  // Droplets reached through tags are not among the firewall's own.
  assert.deepEqual(firewalls[0].droplet_ids, []);
});

test("tags and droplets in rules become addresses and follow every change", async (t) => {
  const api = await TestApi.start(t);
  const web = await api.addDroplet({ name: "web", tags: ["web"] });
  const db = await api.addDroplet({ name: "db", tags: ["db"] });
  const { firewall } = await api.ok("POST", "/v2/firewalls", {
    name: "db",
    inbound_rules: [{ protocol: "tcp", ports: "5432", sources: { tags: ["web"] } }],
    outbound_rules: [{ protocol: "icmp", destinations: { droplet_ids: [web.id] } }],
    droplet_ids: [db.id],
  });
  const held = () => api.network.firewalls.find((one) => one.dropletId === db.id);
  assert.deepEqual([...(held()?.inbound[0]?.addresses ?? [])].sort(), addresses(web));
  assert.deepEqual([...(held()?.outbound[0]?.addresses ?? [])].sort(), addresses(web));
  assert.equal(api.network.firewalls.length, 1);

  const second = await api.addDroplet({ name: "web-2", tags: ["web"] });
  assert.equal(held()?.inbound[0]?.addresses.length, 4);
  const resources = [{ resource_id: String(second.id), resource_type: "droplet" }];
  await api.ok("DELETE", "/v2/tags/web/resources", { resources });
  assert.equal(held()?.inbound[0]?.addresses.length, 2);
  await api.ok("DELETE", `/v2/droplets/${web.id}`);
  await eventually(() => assert.deepEqual(held()?.inbound, []));
  await api.ok("DELETE", "/v2/tags/web");
  // A droplet of a firewall without rules left is closed, not open.
  assert.deepEqual(held(), { dropletId: db.id, inbound: [], outbound: [] });
  await api.ok("DELETE", `/v2/droplets/${db.id}`);
  assert.deepEqual((await api.ok("GET", `/v2/firewalls/${firewall.id}`)).firewall.droplet_ids, []);
  await eventually(() => assert.deepEqual(api.network.firewalls, []));
});

test("several firewalls of one droplet are joined", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const http = { ...ssh, ports: "80" };
  await api.ok("POST", "/v2/firewalls", { name: "one", inbound_rules: [ssh], droplet_ids: [id] });
  await api.ok("POST", "/v2/firewalls", { name: "two", inbound_rules: [http], droplet_ids: [id] });
  assert.deepEqual(
    api.network.firewalls[0]?.inbound.map((rule) => rule.ports?.from),
    [22, 80],
  );
});

test("droplets, tags and rules are added and taken away by calls of their own", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  await api.ok("POST", "/v2/tags", { name: "web" });
  const { firewall } = await api.ok("POST", "/v2/firewalls", { name: "one", inbound_rules: [ssh] });
  const path = `/v2/firewalls/${firewall.id}`;
  const read = async () => (await api.ok("GET", path)).firewall;

  await api.ok("POST", `${path}/droplets`, { droplet_ids: [id, id] });
  assert.deepEqual((await read()).droplet_ids, [id]);
  assert.equal(api.network.firewalls.length, 1);
  await api.ok("DELETE", `${path}/droplets`, { droplet_ids: [id] });
  assert.deepEqual((await read()).droplet_ids, []);
  assert.equal(api.network.firewalls.length, 0);
  await api.ok("POST", `${path}/tags`, { tags: ["web"] });
  assert.deepEqual((await read()).tags, ["web"]);
  await api.ok("DELETE", `${path}/tags`, { tags: ["web"] });
  assert.deepEqual((await read()).tags, []);
  const rule = { protocol: "tcp", ports: "443", sources: everywhere };
  await api.ok("POST", `${path}/rules`, { inbound_rules: [rule] });
  assert.deepEqual((await read()).inbound_rules, [ssh, rule]);
  await api.ok("DELETE", `${path}/rules`, { inbound_rules: [ssh], outbound_rules: null });
  assert.deepEqual((await read()).inbound_rules, [rule]);
});

test("what makes no firewall is refused", async (t) => {
  const api = await TestApi.start(t);
  const refused = (message: RegExp, changes: Json) =>
    api.refused(422, message, "POST", "/v2/firewalls", { name: "one", inbound_rules: [ssh], ...changes });
  await refused(/at least one rule/, { inbound_rules: [], outbound_rules: [] });
  await refused(/at least one rule/, { inbound_rules: null, outbound_rules: null });
  await refused(/does not exist/, { tags: ["unknown"] });
  await refused(/does not exist/, { droplet_ids: [4711] });
  await refused(/ports/, { inbound_rules: [{ ...ssh, ports: "0-70000" }] });
  await refused(/ports/, { inbound_rules: [{ ...ssh, ports: "9-8" }] });
  await refused(/ports/, { inbound_rules: [{ ...ssh, ports: "22; drop" }] });
  await refused(/allowed values/, { inbound_rules: [{ ...ssh, protocol: "gre" }] });
  await refused(/sources/, { inbound_rules: [{ protocol: "tcp", ports: "22" }] });
  await refused(/at least one address/, { inbound_rules: [{ ...ssh, sources: {} }] });
  for (const address of [
    "300.0.0.0/8",
    "10.0.0.0/33",
    "fe80::1%eth0",
    "1.2.3.4/8/8",
    "any",
    "0.0.0.0/0; flush ruleset",
  ]) {
    await refused(/neither an address/, { inbound_rules: [{ ...ssh, sources: { addresses: [address] } }] });
  }
  await refused(/pattern/, { name: "x y" });
  await refused(/at most 50 rules/, { inbound_rules: Array.from({ length: 51 }, () => ssh) });
  await refused(/load balancers/, { inbound_rules: [{ ...ssh, sources: { load_balancer_uids: ["x"] } }] });
  assert.equal((await api.ok("GET", "/v2/firewalls")).meta.total, 0);
});

test("a change whose rules cannot be applied has no effect", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  await api.ok("POST", "/v2/firewalls", { name: "one", inbound_rules: [ssh], droplet_ids: [id] });
  const before = api.network.firewalls;
  api.network.failing = true;
  await api.refused(500, /Unexpected server-side error/, "POST", "/v2/firewalls", {
    name: "two",
    inbound_rules: [ssh],
    droplet_ids: [id],
  });
  api.network.failing = false;
  assert.deepEqual(
    (await api.ok("GET", "/v2/firewalls")).firewalls.map((one: Json) => one.name),
    ["one"],
  );
  await api.ok("POST", "/v2/tags", { name: "next-change" });
  assert.deepEqual(api.network.firewalls, before);
});
