import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually, type Json, publicKey, TestApi } from "./api/support.ts";

test("a droplet is new and locked first, then active", async (t) => {
  const api = await TestApi.start(t);
  const release = api.driver.hold();
  const body = { ...(await api.dropletBody()), tags: ["web"], user_data: "#!/bin/sh\n" };
  const created = await api.call("POST", "/v2/droplets", body);
  assert.equal(created.status, 202);
  const { droplet, links } = created.body;
  assert.deepEqual([droplet.status, droplet.locked], ["new", true]);
  assert.equal(links.actions[0].rel, "create");
  assert.ok(links.actions[0].href.startsWith(`${api.url}/v2/actions/`));
  const { action } = await api.ok("GET", `/v2/actions/${links.actions[0].id}`);
  assert.deepEqual([action.status, action.completed_at, action.resource_id], ["in-progress", null, droplet.id]);

  release();
  const active = await api.dropletWith(droplet.id, "active");
  assert.equal(active.locked, false);
  assert.equal((await api.ok("GET", `/v2/actions/${action.id}`)).action.status, "completed");
  assert.deepEqual(active.features, ["private_networking"]);
  assert.deepEqual(active.volume_ids, []);
  assert.equal(active.size.slug, "s-1vcpu-512mb-10gb");
  assert.equal(active.region.slug, "nyc3");
  assert.equal(active.user_data, undefined);
  assert.deepEqual(active.networks.v4.map((one: Json) => one.type).sort(), ["private", "public"]);
  assert.deepEqual(active.networks.v6, []);
  assert.deepEqual(api.driver.calls, [`create ${droplet.id}`, `powerOn ${droplet.id}`]);
  const spec = api.driver.specs.get(droplet.id);
  assert.deepEqual([spec?.memoryMiB, spec?.vcpus, spec?.diskGiB, spec?.name], [512, 1, 10, "web-1"]);
  assert.match(spec?.publicNic.mac ?? "", /^04:01(:[0-9a-f]{2}){4}$/);
});

test("a droplet without a VPC comes into its region's default VPC, which cannot be deleted", async (t) => {
  const api = await TestApi.start(t);
  const droplet = await api.addDroplet();
  const { vpc } = await api.ok("GET", `/v2/vpcs/${droplet.vpc_uuid}`);
  assert.equal(vpc.default, true);
  assert.equal((await api.addDroplet({ name: "web-2" })).vpc_uuid, vpc.id);
  const { droplets } = await api.ok("GET", "/v2/droplets");
  for (const one of droplets) await api.ok("DELETE", `/v2/droplets/${one.id}`);
  await eventually(() => assert.equal(api.store.droplets.all().length, 0));
  await api.refused(403, /default/, "DELETE", `/v2/vpcs/${vpc.id}`);
});

test("addresses and MACs differ, and are not given again at once", async (t) => {
  const api = await TestApi.start(t);
  const seen = new Set<string>();
  for (let round = 0; round < 5; round += 1) {
    const droplet = await api.addDroplet();
    const { publicNic, privateNic } = api.driver.specs.get(droplet.id) ?? assert.fail();
    for (const text of [publicNic.address, publicNic.mac, privateNic?.mac ?? ""]) {
      assert.ok(!seen.has(text), text);
      seen.add(text);
    }
    await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  }
});

test("several droplets by names: all or none", async (t) => {
  const api = await TestApi.start(t);
  const { name: _, ...body } = await api.dropletBody();
  const made = await api.ok("POST", "/v2/droplets", { ...body, names: ["a.test", "b.test"] });
  assert.deepEqual(
    made.droplets.map((one: Json) => one.name),
    ["a.test", "b.test"],
  );
  assert.equal(made.links.actions.length, 2);
  await api.refused(422, /./, "POST", "/v2/droplets", { ...body, names: ["fine", "not fine"] });
  assert.equal((await api.ok("GET", "/v2/droplets")).meta.total, 2);
  assert.equal((await api.ok("GET", "/v2/droplets?name=b.test")).meta.total, 1);
  assert.equal((await api.ok("GET", "/v2/droplets?type=gpus")).meta.total, 0);
});

test("what cannot be made is refused, and nothing is left of it", async (t) => {
  const api = await TestApi.start(t);
  const body = await api.dropletBody();
  const large = await api.addImage(20);
  const { vpc } = await api.ok("POST", "/v2/vpcs", { name: "ams", region: "ams3" });
  const refused = (message: RegExp, changes: Json, status = 422) =>
    api.refused(status, message, "POST", "/v2/droplets", { ...body, ...changes });
  await refused(/SSH key is required/, { ssh_keys: [] });
  await refused(/SSH key is required/, { ssh_keys: null });
  await refused(/invalid key identifiers/, { ssh_keys: [4711] });
  await refused(/invalid key identifiers/, { ssh_keys: ["aa:bb"] });
  await refused(/IPv6/, { ipv6: true });
  await refused(/Monitoring/, { monitoring: true });
  await refused(/smaller than the image/, { image: large });
  await refused(/invalid image/, { image: 4711 });
  await refused(/invalid image/, { image: "ubuntu-24-04-x64" });
  await refused(/invalid size/, { size: "s-none" });
  await refused(/Region is not available/, { region: "mars1" });
  await refused(/not available in region/, { region: "ams3" });
  await refused(/The VPC is in region/, { vpc_uuid: vpc.id });
  await refused(/VPC could not be found/, { vpc_uuid: "b7b1e4c2-0000-4000-8000-000000000000" });
  await refused(/64 KiB/, { user_data: "x".repeat(64 * 1024 + 1) });
  await refused(/pattern|name/, { name: "under_score" });
  await refused(/only letters/, { tags: ["not a tag"] });
  await refused(/volumes/, { volumes: [{ id: "x" }] }, 501);
  await refused(/public networking/, { public_networking: false }, 501);
  assert.equal((await api.ok("GET", "/v2/droplets")).meta.total, 0);
  assert.equal((await api.ok("GET", "/v2/actions")).meta.total, 0);
  assert.equal((await api.ok("GET", "/v2/vpcs")).meta.total, 1);
  assert.equal((await api.ok("GET", "/v2/tags")).meta.total, 0);
  assert.deepEqual(api.driver.calls, []);
  await api.addDroplet({
    user_data: "x".repeat(64 * 1024),
    ssh_keys: [(await api.ok("GET", "/v2/account/keys")).ssh_keys[0].fingerprint],
  });
});

test("the account has a limit of droplets", async (t) => {
  const api = await TestApi.start(t);
  const { name: _, ...body } = await api.dropletBody();
  for (let round = 0; round < 2; round += 1) {
    await api.ok("POST", "/v2/droplets", {
      ...body,
      names: Array.from({ length: 10 }, (_value, index) => `d${index}`),
    });
  }
  const six = Array.from({ length: 6 }, (_value, index) => `e${index}`);
  await api.refused(422, /exceed your droplet limit/, "POST", "/v2/droplets", { ...body, names: six });
});

test("power off and on, shutdown, reboot, power cycle", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const path = `/v2/droplets/${id}/actions`;
  const act = async (type: string, status: string) => {
    const { action } = await api.ok("POST", path, { type });
    assert.deepEqual([action.status, action.type, action.resource_type], ["in-progress", type, "droplet"]);
    await eventually(async () => {
      const { action: later } = await api.ok("GET", `${path}/${action.id}`);
      assert.equal(later.status, "completed");
      assert.ok(later.completed_at);
    });
    assert.equal((await api.ok("GET", `/v2/droplets/${id}`)).droplet.status, status);
  };
  await api.refused(422, /already powered on/, "POST", path, { type: "power_on" });
  await act("reboot", "active");
  await act("power_cycle", "active");
  await act("shutdown", "off");
  await api.refused(422, /Droplet is already powered off/, "POST", path, { type: "power_off" });
  await act("power_on", "active");
  await act("power_off", "off");
  const { actions } = await api.ok("GET", `${path}?per_page=50`);
  assert.deepEqual(
    actions.map((one: Json) => one.type),
    ["power_off", "power_on", "shutdown", "power_cycle", "reboot", "create"],
  );
});

test("a second action has to wait for the first", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const release = api.driver.hold();
  const path = `/v2/droplets/${id}/actions`;
  await api.ok("POST", path, { type: "reboot" });
  await api.refused(422, /already has a pending event/, "POST", path, { type: "power_off" });
  await api.refused(422, /already has a pending event/, "POST", path, { type: "rename", name: "x" });
  release();
});

test("rename, resize and features change at once", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  const path = `/v2/droplets/${id}/actions`;
  const droplet = async () => (await api.ok("GET", `/v2/droplets/${id}`)).droplet;
  const { action } = await api.ok("POST", path, { type: "rename", name: "web-9" });
  assert.equal(action.status, "completed");
  assert.equal((await droplet()).name, "web-9");
  for (const type of ["enable_backups", "enable_private_networking"]) await api.ok("POST", path, { type });
  const policy = { plan: "weekly", weekday: "SUN", hour: 20 };
  await api.ok("POST", path, { type: "change_backup_policy", backup_policy: policy });
  assert.deepEqual((await droplet()).features, ["private_networking", "backups"]);
  await api.ok("POST", path, { type: "disable_backups" });
  assert.deepEqual((await droplet()).features, ["private_networking"]);

  const resize = { type: "resize", size: "s-1vcpu-2gb", disk: false };
  await api.refused(422, /powered off/, "POST", path, resize);
  await api.ok("POST", path, { type: "power_off" });
  await api.dropletWith(id, "off");
  await api.refused(501, /disk/, "POST", path, { ...resize, disk: true });
  await api.ok("POST", path, resize);
  const { size_slug, memory, disk } = await droplet();
  assert.deepEqual([size_slug, memory, disk], ["s-1vcpu-2gb", 2048, 10]);
  await api.ok("POST", path, { type: "power_on" });
  await api.dropletWith(id, "active");
  assert.equal(api.driver.specs.get(id)?.memoryMiB, 2048);

  await api.refused(422, /hostname characters/, "POST", path, { type: "rename", name: "a b" });
  await api.refused(422, /name/, "POST", path, { type: "rename", name: 5 });
  await api.refused(422, /IPv6/, "POST", path, { type: "enable_ipv6" });
  for (const type of ["snapshot", "rebuild", "restore", "password_reset", "change_kernel"]) {
    await api.refused(501, new RegExp(type), "POST", path, { type });
  }
  await api.refused(422, /allowed values/, "POST", path, { type: "explode" });
});

test("delete: gone at once for the client, its place freed once it is taken down", async (t) => {
  const api = await TestApi.start(t);
  const { vpc } = await api.ok("POST", "/v2/vpcs", { name: "v", region: "nyc3" });
  const { id } = await api.addDroplet({ vpc_uuid: vpc.id });
  const release = api.driver.hold();
  assert.equal((await api.call("DELETE", `/v2/droplets/${id}`)).status, 204);
  for (const path of ["", "/actions", "/firewalls", "/snapshots", "/backups", "/neighbors"]) {
    await api.refused(404, /could not be found/, "GET", `/v2/droplets/${id}${path}`);
  }
  await api.refused(404, /could not be found/, "DELETE", `/v2/droplets/${id}`);
  assert.equal((await api.ok("GET", "/v2/droplets")).meta.total, 0);
  await api.refused(403, /members/, "DELETE", `/v2/vpcs/${vpc.id}`);
  release();
  await eventually(() => api.ok("DELETE", `/v2/vpcs/${vpc.id}`));
  assert.ok(api.driver.calls.includes(`destroy ${id}`));
});

test("delete of a droplet that is still booting", async (t) => {
  const api = await TestApi.start(t);
  const release = api.driver.hold();
  const { droplet, links } = await api.ok("POST", "/v2/droplets", await api.dropletBody());
  await api.ok("DELETE", `/v2/droplets/${droplet.id}`);
  release();
  await eventually(() => assert.equal(api.store.droplets.all().length, 0));
  assert.equal(api.driver.calls.at(-1), `destroy ${droplet.id}`);
  assert.ok((await api.ok("GET", `/v2/actions/${links.actions[0].id}`)).action.completed_at);
});

test("a droplet that does not boot is off, and its action errored", async (t) => {
  const api = await TestApi.start(t);
  api.driver.failing.add("powerOn");
  const { droplet, links } = await api.ok("POST", "/v2/droplets", await api.dropletBody());
  assert.equal((await api.dropletWith(droplet.id, "off")).locked, false);
  assert.equal((await api.ok("GET", `/v2/actions/${links.actions[0].id}`)).action.status, "errored");
  assert.ok(api.logged.some((line) => line.includes(`droplet ${droplet.id}: create failed`)));
});

test("a droplet that cannot be taken down is tried again", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  api.driver.failing.add("destroy");
  await api.ok("DELETE", `/v2/droplets/${id}`);
  await eventually(() => assert.ok(api.driver.calls.includes(`destroy ${id}`)));
  api.driver.failing.clear();
  await eventually(() => assert.equal(api.store.droplets.all().length, 0));
});

test("a poweroff inside the droplet shows, and so does a boot", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  api.driver.change(id, false);
  await api.dropletWith(id, "off");
  api.driver.change(id, true);
  await api.dropletWith(id, "active");
});

test("the lists below a droplet", async (t) => {
  const api = await TestApi.start(t);
  const { id } = await api.addDroplet();
  assert.deepEqual((await api.ok("GET", `/v2/droplets/${id}/snapshots`)).snapshots, []);
  assert.deepEqual((await api.ok("GET", `/v2/droplets/${id}/backups`)).backups, []);
  assert.deepEqual((await api.ok("GET", `/v2/droplets/${id}/neighbors`)).droplets, []);
  assert.deepEqual((await api.ok("GET", `/v2/droplets/${id}/firewalls`)).firewalls, []);
  const other = await api.addDroplet({ name: "other" });
  const [action] = (await api.ok("GET", `/v2/droplets/${id}/actions`)).actions;
  await api.refused(404, /could not be found/, "GET", `/v2/droplets/${other.id}/actions/${action.id}`);
});

test("a public key with blanks around it reaches the droplet trimmed, once", async (t) => {
  const api = await TestApi.start(t);
  const { ssh_key: key } = await api.ok("POST", "/v2/account/keys", { name: "k", public_key: ` ${publicKey}\n` });
  const { id } = await api.addDroplet({ ssh_keys: [key.id, key.fingerprint, String(key.id)] });
  assert.deepEqual(api.store.droplets.get(id)?.publicKeys, [publicKey]);
});
