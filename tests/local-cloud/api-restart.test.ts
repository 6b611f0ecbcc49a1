import assert from "node:assert/strict";
import { statSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { openStore } from "../../local-cloud/api/index.ts";
import { eventually, type Json, TestApi } from "./api/support.ts";

const rule = { protocol: "tcp", ports: "22", sources: { addresses: ["0.0.0.0/0"] } };

test("everything is there again after a restart, and numbers go on", async (t) => {
  const api = await TestApi.start(t);
  const droplet = await api.addDroplet({ tags: ["web"] });
  await api.ok("POST", "/v2/domains", { name: "hello.test", ip_address: "198.18.0.9" });
  await api.ok("POST", "/v2/reserved_ips", { droplet_id: droplet.id });
  await api.ok("POST", "/v2/firewalls", { name: "fw", inbound_rules: [rule], tags: ["web"] });
  await api.ok("POST", "/v2/spaces/keys", { name: "k", grants: [{ bucket: "b-b", permission: "read" }] });
  const lists = [
    "account/keys",
    "images",
    "droplets",
    "vpcs",
    "tags",
    "firewalls",
    "domains",
    "domains/hello.test/records",
    "reserved_ips",
    "spaces/keys",
    "projects",
    "projects/default/resources",
    "actions",
  ];
  const withoutPort = (value: Json) => JSON.parse(JSON.stringify(value).replaceAll(/127\.0\.0\.1:\d+/g, "host"));
  const read = async () =>
    Promise.all(lists.map(async (list) => withoutPort(await api.ok("GET", `/v2/${list}?per_page=200`))));
  const before = await read();
  const rules = [api.network.firewalls, api.network.reserved];
  api.network.firewalls = [];
  api.network.reserved = [];

  await api.restart();
  assert.deepEqual(await read(), before);
  assert.deepEqual([api.network.firewalls, api.network.reserved], rules);
  assert.equal(statSync(join(api.folder, "api.sqlite")).mode & 0o777, 0o600);
  await eventually(() => assert.ok(api.driver.isRunning(droplet.id)));
  await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  assert.ok((await api.addDroplet({ name: "next" })).id > droplet.id);
});

test("droplets that ran boot again, those that were off stay off", async (t) => {
  const api = await TestApi.start(t);
  const on = await api.addDroplet({ name: "on" });
  const off = await api.addDroplet({ name: "off" });
  await api.ok("POST", `/v2/droplets/${off.id}/actions`, { type: "power_off" });
  await api.dropletWith(off.id, "off");
  api.driver.calls.length = 0;
  await api.stop();
  // What happens to droplets while the local cloud stops is not their own doing.
  api.driver.change(on.id, false);
  await api.restart();
  await eventually(() => assert.deepEqual(api.driver.calls, [`powerOn ${on.id}`]));
  await api.dropletWith(on.id, "active");
  await api.dropletWith(off.id, "off");
});

test("a create, a power action and a delete that a stop cut short go on", async (t) => {
  const api = await TestApi.start(t);
  const kept = await api.addDroplet({ name: "kept" });
  const doomed = await api.addDroplet({ name: "doomed" });
  const { store } = api;
  // As after a kill: recorded as under way, and nothing done yet.
  await store.change(() => {
    const begin = (id: number, type: string, resourceId: number) =>
      store.actions.put({
        ...{ id, type, resourceId, resourceType: "droplet", region: "nyc3" },
        ...{ status: "in-progress", startedAt: "2026-01-01T00:00:00Z", completedAt: null },
      });
    begin(90001, "power_off", kept.id);
    const { id: _, ...fields } = store.droplets.get(kept.id) ?? assert.fail();
    store.droplets.put({ ...fields, id: 90002, status: "new" });
    begin(90003, "create", 90002);
    store.droplets.put({ ...(store.droplets.get(doomed.id) ?? assert.fail()), deleted: true });
  });
  api.driver.calls.length = 0;
  await api.restart();
  await api.dropletWith(90002, "active");
  await api.dropletWith(kept.id, "off");
  await eventually(() => assert.equal(api.store.droplets.get(doomed.id), undefined));
  for (const id of [90001, 90003]) assert.equal((await api.ok("GET", `/v2/actions/${id}`)).action.status, "completed");
  assert.ok(api.driver.calls.includes(`destroy ${doomed.id}`));
  assert.ok(api.driver.calls.includes("create 90002"));
  assert.ok(!api.driver.calls.includes(`powerOn ${kept.id}`));
});

test("work that a stop interrupts stays under way", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const release = api.driver.hold();
  api.driver.failing.add("reboot");
  const { action } = await api.ok("POST", `/v2/droplets/${id}/actions`, { type: "reboot" });
  const stopped = api.stop();
  // The server tells its work to end before it waits for it.
  await new Promise((resolve) => setTimeout(resolve, 100));
  release();
  await stopped;
  api.driver.failing.clear();
  await api.restart();
  await eventually(async () =>
    assert.equal((await api.ok("GET", `/v2/actions/${action.id}`)).action.status, "completed"),
  );
});

test("a damaged file and one of a newer chillbox are refused in plain words", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-store-"));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, "damaged.sqlite"), "no database".repeat(500));
  assert.throws(() => openStore(join(folder, "damaged.sqlite")), /damaged\.sqlite cannot be opened .*cloud reset/);
  const newer = new DatabaseSync(join(folder, "newer.sqlite"));
  newer.exec("PRAGMA user_version = 99");
  newer.close();
  assert.throws(() => openStore(join(folder, "newer.sqlite")), /newer chillbox/);
  assert.throws(() => openStore(join(folder, "none/api.sqlite")), /cannot be opened/);
});

test("the store: a change that throws leaves nothing, and writing needs one", async (t) => {
  const { store } = await TestApi.start(t);
  await assert.rejects(
    store.change(async () => {
      store.tags.put({ id: "lost", name: "lost" });
      await new Promise((resolve) => setTimeout(resolve, 10));
      throw new Error("changed my mind");
    }),
    /changed my mind/,
  );
  assert.equal(store.tags.get("lost"), undefined);
  assert.throws(() => store.tags.put({ id: "x", name: "x" }), /outside a change/);
  const order: string[] = [];
  await Promise.all(
    ["a", "b", "c"].map((name) =>
      store.change(async () => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        order.push(name);
        store.tags.put({ id: name, name });
      }),
    ),
  );
  assert.deepEqual(order, ["a", "b", "c"]);
  assert.deepEqual(
    store.tags.all().map((tag) => tag.id),
    ["a", "b", "c"],
  );
});
