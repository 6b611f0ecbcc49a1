import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type LocalCloudSettings, localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { cloudLogs, cloudStatus, resetCloud, startCloud, stopCloud } from "../../local-cloud/control.ts";
import { credentialsFile, readCredentials } from "../../local-cloud/credentials.ts";
import { findCgroups } from "../../local-cloud/droplets/cgroups.ts";
import { checkMachine, checkRoot, checkTools } from "../../local-cloud/preflight.ts";
import { pidFile, readProcess } from "../../local-cloud/process.ts";
import { leftOnMachine } from "./left-on-machine.ts";
import { ownCopy } from "./own-copy.ts";

let settings: LocalCloudSettings;

before(async () => {
  settings = await ownCopy();
});

afterEach(() => resetCloud(settings));

after(() => rmSync(settings.home, { recursive: true, force: true }));

const pidNow = async () => (await readProcess(settings))?.pid;

test("a start ends with a cloud that answers, a second one does nothing", async () => {
  assert.equal(await startCloud(settings), true);
  const pid = await pidNow();
  assert.equal(await startCloud(settings), false);
  assert.equal(await pidNow(), pid);
  const status = await cloudStatus(settings);
  assert.deepEqual(
    { ...status, pid: undefined },
    {
      running: true,
      pid: undefined,
      answers: true,
      apiEndpoint: settings.apiEndpoint,
      addressRange: settings.addressRange,
      droplets: [],
    },
  );
  assert.match(await cloudLogs(settings), /ready: API on http:\/\/127\.0\.0\.1:/);
});

test("everything of it listens, and on loopback or its own address only", async () => {
  await startCloud(settings);
  const { ports } = settings;
  const listening = execFileSync("ss", ["-Hltn"], { encoding: "utf8" });
  for (const port of [ports.api, ports.spaces, ports.gateway, ports.dns]) {
    assert.match(listening, new RegExp(` 127\\.0\\.0\\.1:${port} `));
    assert.doesNotMatch(listening, new RegExp(` (0\\.0\\.0\\.0|\\*|\\[::\\]):${port} `));
  }
  assert.equal((await fetch(`${settings.apiEndpoint}/v2/account`)).status, 401);
});

test("credentials are made once, and only their owner can read them and the data", async () => {
  await startCloud(settings);
  const first = await readCredentials(settings);
  assert.match(first?.token ?? "", /^dop_v1_[0-9a-f]{64}$/);
  assert.equal(statSync(credentialsFile(settings)).mode & 0o777, 0o600);
  assert.equal(statSync(settings.cloud).mode & 0o777, 0o700);
  await stopCloud(settings);
  await startCloud(settings);
  assert.deepEqual(await readCredentials(settings), first);
  const headers = { authorization: `Bearer ${first?.token}` };
  assert.equal((await fetch(`${settings.apiEndpoint}/v2/account`, { headers })).status, 200);
  assert.doesNotMatch(await cloudLogs(settings, { lines: 10_000 }), new RegExp(first?.token ?? "?"));
});

test("five starts at once make one cloud", async () => {
  const answers = await Promise.all(Array.from({ length: 5 }, () => startCloud(settings)));
  assert.equal(answers.filter((started) => started).length, 1);
});

test("a stop leaves nothing but data, a second one has nothing to do", async () => {
  await startCloud(settings);
  assert.equal(await stopCloud(settings), true);
  assert.deepEqual(leftOnMachine(settings), []);
  assert.equal(await stopCloud(settings), false);
  assert.ok(existsSync(join(settings.cloud, "api.sqlite")));
  assert.equal((await cloudStatus(settings)).running, false);
});

test("SIGTERM alone is enough for an orderly stop", async () => {
  await startCloud(settings);
  const pid = (await pidNow()) ?? 0;
  process.kill(pid, "SIGTERM");
  while ((await pidNow()) !== undefined) {
    await sleep(50);
  }
  const left = leftOnMachine(settings).filter((line) => !line.startsWith("control group"));
  assert.deepEqual(left, []);
  assert.match(await cloudLogs(settings), /stopped$/);
});

test("a reset deletes the data", async () => {
  await startCloud(settings);
  await resetCloud(settings);
  assert.equal(existsSync(settings.cloud), false);
  assert.deepEqual(leftOnMachine(settings), []);
});

test("what a killed cloud left is taken away by the next start", async () => {
  await startCloud(settings);
  const pid = (await pidNow()) ?? 0;
  process.kill(pid, "SIGKILL");
  while ((await pidNow()) !== undefined) {
    await sleep(20);
  }
  assert.notDeepEqual(leftOnMachine(settings), []);
  assert.equal(await startCloud(settings), true);
  assert.notEqual(await pidNow(), pid);
  const processes = leftOnMachine(settings).filter((line) => /versitygw/.test(line));
  assert.equal(processes.length, 1);
});

test("what a killed cloud left is taken away by a stop, too", async () => {
  await startCloud(settings);
  process.kill((await pidNow()) ?? 0, "SIGKILL");
  await stopCloud(settings);
  assert.deepEqual(leftOnMachine(settings), []);
});

test("a cloud that hangs is replaced", async () => {
  await startCloud(settings);
  const pid = (await pidNow()) ?? 0;
  process.kill(pid, "SIGSTOP");
  assert.equal(await startCloud(settings), true);
  assert.notEqual(await pidNow(), pid);
});

test("a start that is killed half-way does not hold up the next one", async () => {
  const program = `
    import { startCloud } from ${JSON.stringify(join(settings.repository, "local-cloud/control.ts"))};
    import { localCloudSettings } from ${JSON.stringify(join(settings.repository, "lib/local-cloud-settings.ts"))};
    await startCloud(localCloudSettings());`;
  for (const milliseconds of [150, 400, 800]) {
    const starter = spawn(process.execPath, ["--input-type=module", "--eval", program], { env: environment() });
    await sleep(milliseconds);
    starter.kill("SIGKILL");
  }
  await startCloud(settings);
  assert.equal((await cloudStatus(settings)).answers, true);
  await stopCloud(settings);
  assert.deepEqual(leftOnMachine(settings), []);
});

test("a process that has the recorded number by chance is left alone", async () => {
  const stranger = spawn("sleep", ["1000"]);
  try {
    mkdirSync(settings.cloud, { recursive: true });
    writeFileSync(pidFile(settings), JSON.stringify({ pid: stranger.pid, startTime: "1", ready: true }));
    await startCloud(settings);
    await stopCloud(settings);
    assert.equal(stranger.signalCode, null);
  } finally {
    stranger.kill();
    await once(stranger, "exit");
  }
});

for (const content of ["", "{", "[]", '{"pid":"x"}', '{"pid":1,"startTime":"0"}']) {
  test(`a damaged record of the process does no harm: ${content || "empty"}`, async () => {
    mkdirSync(settings.cloud, { recursive: true });
    writeFileSync(pidFile(settings), content);
    assert.equal((await cloudStatus(settings)).running, false);
  });
}

test("a start that fails says why, and takes everything back", async () => {
  mkdirSync(settings.cloud, { recursive: true });
  writeFileSync(join(settings.cloud, "api.sqlite"), "this is no database, ".repeat(1000));
  await assert.rejects(startCloud(settings), {
    name: "UserError",
    message: /^[^\n]*api\.sqlite[^\n]*$/,
  });
  assert.deepEqual(leftOnMachine(settings), []);
  await resetCloud(settings);
  // Something that nobody foresaw: the end of the log is shown.
  mkdirSync(settings.cloud, { recursive: true });
  writeFileSync(join(settings.cloud, "spaces"), "");
  await assert.rejects(startCloud(settings), { name: "UserError", message: /ended before it was ready[\s\S]*EEXIST/ });
  assert.deepEqual(leftOnMachine(settings), []);
});

test("damaged credentials are said to be so", async () => {
  mkdirSync(settings.cloud, { recursive: true });
  writeFileSync(credentialsFile(settings), "{}");
  await assert.rejects(startCloud(settings), { name: "UserError", message: /credentials\.json is damaged/ });
  assert.deepEqual(leftOnMachine(settings), []);
});

test("a port that is taken is named with the program that has it, before anything is made", async () => {
  for (const port of [settings.ports.api, settings.ports.dns]) {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
    const before = readdirSync(settings.home);
    const message = new RegExp(`Port ${port} .* is taken by .*node.* \\(process ${process.pid}\\).*CHILLBOX_PORT_BASE`);
    await assert.rejects(startCloud(settings), { name: "UserError", message });
    assert.deepEqual(readdirSync(settings.home), before);
    assert.deepEqual(leftOnMachine(settings), []);
    await new Promise((resolve) => server.close(resolve));
  }
});

test("an address range that this machine routes is refused, before anything is made", async () => {
  const routed = localCloudSettings({ CHILLBOX_HOME: settings.home, CHILLBOX_ADDRESS_RANGE: "127.64.0.0/18" });
  const message = /127\.64\.0\.0\/18 is in use: .* route to 127\.0\.0\.0\/8 .*CHILLBOX_ADDRESS_RANGE/;
  await assert.rejects(checkMachine({ ...settings, addressRange: routed.addressRange }), {
    name: "UserError",
    message,
  });
  await assert.rejects(startCloud({ ...settings, addressRange: "10.0.0.0/30" }), { name: "UserError" });
  assert.deepEqual(leftOnMachine(settings), []);
});

test("what a machine may lack is named", async () => {
  assert.throws(() => checkRoot(1000), { name: "UserError", message: /needs root.*sudo/ });
  await assert.rejects(checkTools("/nowhere"), {
    name: "UserError",
    message: /needs ip, nft.*apt-get install iproute2 nftables/,
  });
  const noGroups = "25 1 0:22 / /proc rw - proc proc rw\n";
  await assert.rejects(findCgroups(noGroups), { name: "UserError", message: /no memory control group/ });
});

test("control groups are found in both versions", async () => {
  const first = `31 24 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 24 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 24 0:30 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 24 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
`;
  const host = await findCgroups(first);
  assert.equal(host.version, 1);
  assert.deepEqual(
    host.hierarchies.map(({ path }) => path),
    ["/sys/fs/cgroup/pids", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/memory"],
  );
});

test("the commands say what they did by text and exit code", async () => {
  const stopped = await chillbox("status");
  assert.equal(stopped.code, 3);
  assert.equal(stopped.stdout, "The local cloud is not running.\n");
  assert.match((await chillbox("stop")).stderr, /is not running/);
  const logs = await chillbox("logs");
  assert.equal(logs.code, 1);
  assert.match(logs.stderr, /^chillbox: There is no log/);
  await startCloud(settings);
  const running = await chillbox("status");
  assert.equal(running.code, 0);
  assert.match(running.stdout, /^The local cloud runs: process \d+, API on /);
  assert.equal(JSON.parse((await chillbox("status", "--json")).stdout).answers, true);
  assert.match((await chillbox("logs", "--lines", "1")).stdout, /^[^\n]+\n$/);
  assert.match((await chillbox("logs", "--droplet", "nobody")).stderr, /^chillbox: There is no droplet "nobody"/);
  assert.match((await chillbox("reset")).stderr, /is empty/);
  assert.equal(existsSync(settings.cloud), false);
});

function chillbox(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const file = join(settings.repository, "cli/chillbox.ts");
  return new Promise((resolve) => {
    execFile(process.execPath, [file, "cloud", ...args], { env: environment() }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

function environment(): NodeJS.ProcessEnv {
  return {
    ...process.env,
    CHILLBOX_HOME: settings.home,
    CHILLBOX_PORT_BASE: String(settings.ports.gateway),
    CHILLBOX_ADDRESS_RANGE: settings.addressRange,
  };
}
