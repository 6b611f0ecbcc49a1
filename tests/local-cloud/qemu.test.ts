import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { startCloud } from "../../local-cloud/control.ts";
import { findAccelerator } from "../../local-cloud/droplets/accelerator.ts";
import { findCgroups, processesIn } from "../../local-cloud/droplets/cgroups.ts";
import { checkQemu } from "../../local-cloud/preflight.ts";
import { readProcess } from "../../local-cloud/process.ts";
import { leftOnMachine } from "./left-on-machine.ts";
import { eventually, RunningCloud } from "./running-cloud.ts";

/** One droplet as a machine of its own; the tests build on each other. Emulated, a boot takes a minute, and ten on a busy machine. */
const patience = 900;
let cloud: RunningCloud;
let id: number;

before(
  async () => {
    const accelerator = await findAccelerator((line) => console.log(`# ${line}`));
    console.log(`# accelerator: ${accelerator.name}`);
    cloud = await RunningCloud.start("qemu");
    id = await cloud.createDroplet("web", await cloud.importImage(), patience);
  },
  { timeout: patience * 1000 },
);

after(() => cloud.close());

const group = () => `chillbox-${cloud.settings.id}/droplet-${id}`;
const processes = async () => processesIn(await findCgroups(), group());

test("it has the image's kernel, not this machine's", async () => {
  const kernel = await cloud.output(id, "uname -r");
  assert.notEqual(kernel, release());
  assert.equal(await cloud.output(id, "ls /lib/modules"), kernel);
});

test("its addresses are those that droplets in namespaces get", async () => {
  for (const [index, kind] of ["public", "private"].entries()) {
    const address = await cloud.address(id, kind as "public" | "private");
    assert.match(await cloud.output(id, `ip -4 address show eth${index}`), new RegExp(`inet ${address}/`));
  }
});

test("its disk, memory and processors are the plan's; the image has grown its file system itself", async () => {
  const kilobytes = Number(await cloud.output(id, "df -k / | tail -1 | tr -s ' ' | cut -d ' ' -f 2"));
  assert.ok(kilobytes > 9.5 * 1024 ** 2, `${kilobytes} KiB`);
  const memory = Number(await cloud.output(id, "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"));
  assert.ok(memory > 400 * 1024 && memory < 512 * 1024, `${memory} KiB`);
  assert.equal(await cloud.output(id, "nproc"), "1");
});

test("qemu is an ordinary user in an empty network, sees nothing of the disk's folder, and takes no further privilege", async () => {
  const [pid] = await processes();
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  assert.match(status, /^Name:\tqemu-system/m);
  assert.match(status, /^NoNewPrivs:\t1$/m);
  assert.match(status, /^Seccomp:\t2$/m);
  assert.match(status, /^CapEff:\t0+$/m);
  assert.match(status, /^Groups:\t\s*$/m);
  assert.ok(Number(/^Uid:\t(\d+)/m.exec(status)?.[1]) >= 1_879_048_192);
  const links = execFileSync("nsenter", ["--net", `--target=${pid}`, "ip", "-brief", "link"], { encoding: "utf8" });
  assert.match(links, /^lo +DOWN.*\n$/);
  assert.deepEqual(readdirSync(`/proc/${pid}/root/dev`).sort(), ["kvm", "null", "urandom", "zero"]);
});

test("its clock can be set, and this machine's stays", async () => {
  const drift = () => Date.now() - performance.now();
  const before = drift();
  const seconds = Number(await cloud.output(id, "date -s '2033-01-01 00:00' > /dev/null && date +%s"));
  assert.equal(new Date(seconds * 1000).getUTCFullYear(), 2033);
  assert.ok(Math.abs(drift() - before) < 60_000);
});

test("it ends with a local cloud that is killed, comes back with the next, and what was flushed is still there", async () => {
  // The file system writes what it has by itself every five seconds: so much later, `lost` would be found.
  await cloud.output(id, "echo kept > /root/kept; sync; echo lost > /root/lost");
  process.kill((await readProcess(cloud.settings))?.pid ?? 0, "SIGKILL");
  await eventually("qemu has ended", async () => (await processes()).length === 0);
  assert.equal(await startCloud(cloud.settings), true);
  await cloud.waitForSsh(id, patience);
  assert.equal(await cloud.output(id, "cat /root/kept"), "kept");
  assert.equal((await cloud.ssh(id, "cat /root/lost")).code, 1, "a cache in this machine outlived the power cut");
});

test("shutdown by the API presses its power button, and leaves nothing of it running", async () => {
  await cloud.output(id, "printf '#!/bin/sh\\necho stopped > /root/stopped\\n' > /etc/local.d/x.stop");
  await cloud.output(id, "chmod +x /etc/local.d/x.stop; rc-update -q add local default; rc-service -q local start");
  await cloud.act(id, "shutdown", patience);
  assert.equal(await cloud.status(id), "off");
  const left = leftOnMachine(cloud.settings).filter((line) => line.includes("droplet-") || line.includes("qemu"));
  assert.deepEqual(left, []);
  const disk = join(cloud.settings.cloud, "droplets", String(id), "disk.raw");
  const stopped = execFileSync("debugfs", ["-R", "cat /root/stopped", disk], { encoding: "utf8", stdio: "pipe" });
  assert.equal(stopped, "stopped\n");
});

test("a driver that there is not is refused", () => {
  assert.throws(() => localCloudSettings({ CHILLBOX_DROPLET_DRIVER: "kvm" }), /give namespace or qemu/);
});

test("without qemu the message names the package", async () => {
  await assert.rejects(checkQemu("/nonexistent"), /apt-get install qemu-system-x86/);
});
