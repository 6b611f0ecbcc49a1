import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startCloud, stopCloud } from "../../local-cloud/control.ts";
import { readProcess } from "../../local-cloud/process.ts";
import { leftOnMachine } from "./left-on-machine.ts";
import { eventually, RunningCloud } from "./running-cloud.ts";

/** One cloud and one droplet for all: the tests build on each other, as a server's life does. */
let cloud: RunningCloud;
let id: number;

before(
  async () => {
    cloud = await RunningCloud.start();
    id = await cloud.createDroplet("web", await cloud.importImage());
  },
  { timeout: 300_000 },
);

after(() => cloud.close());

const bootId = () => cloud.output(id, "cat /proc/1/stat | cut -d ' ' -f 22");

test("the image's own init is process 1, and the address came by DHCP", async () => {
  assert.equal(await cloud.output(id, "readlink /proc/1/exe"), "/bin/busybox");
  const leases = readFileSync(`/run/chillbox-${cloud.settings.id}/leases`, "utf8");
  assert.match(leases, new RegExp(` ${await cloud.address(id)} `));
  assert.match(await cloud.output(id, "ip -4 address show eth0"), new RegExp(`inet ${await cloud.address(id)}/`));
  assert.match(
    await cloud.output(id, "ip -4 address show eth1"),
    new RegExp(`inet ${await cloud.address(id, "private")}/`),
  );
});

test("the disk is as large as the plan's and takes only what is used", async () => {
  const kilobytes = Number(await cloud.output(id, "df -k / | tail -1 | tr -s ' ' | cut -d ' ' -f 2"));
  assert.ok(kilobytes > 9.5 * 1024 ** 2, `${kilobytes} KiB`);
  const disk = join(cloud.settings.cloud, "droplets", String(id), "disk.raw");
  const used = Number(execFileSync("du", ["-k", disk], { encoding: "utf8" }).split("\t")[0]);
  assert.ok(used < 1024 ** 2, `${used} KiB`);
});

test("files have their plain owners on the disk, and set-user-id programs work", async () => {
  assert.equal(await cloud.output(id, "stat -c %u:%g /etc/passwd"), "0:0");
  assert.equal(
    await cloud.output(
      id,
      "echo 'permit nopass nobody as root' > /etc/doas.conf; su -s /bin/sh nobody -c 'doas id -u'; rm /etc/doas.conf",
    ),
    "0",
  );
});

test("the plan's memory is a limit, and the droplet cannot raise it", async () => {
  const allocate = `python3 -c "b = bytearray(700 << 20); print(len(b))"`;
  assert.notEqual((await cloud.ssh(id, allocate)).code, 0);
  assert.equal((await cloud.ssh(id, allocate.replace("700", "200"))).output, String(200 << 20));
  const raise =
    "for f in $(find /sys/fs/cgroup -name memory.max -o -name memory.limit_in_bytes); do echo -n 9000000000 > $f; done";
  await cloud.ssh(id, raise);
  assert.notEqual((await cloud.ssh(id, allocate)).code, 0);
});

test("a fork bomb ends at the droplet's limit of processes", async () => {
  const fork = `python3 -c "
import os, time
made = 0
try:
    while made < 6000:
        if os.fork() == 0:
            time.sleep(2)
            os._exit(0)
        made += 1
except OSError:
    pass
print(made)
"`;
  // In the background: thousands of processes leave sshd no time to keep a connection alive.
  await cloud.output(id, `nohup ${fork} > /tmp/made 2> /dev/null < /dev/null &`);
  const processes = () => cloud.output(id, "ls /proc | grep -c '^[0-9]'").catch(() => "unknown");
  const made = () => cloud.output(id, "cat /tmp/made").catch(() => "");
  await eventually("the bomb has met its limit", async () => (await made()) !== "");
  assert.ok(Number(await made()) > 0 && Number(await made()) < 4096, `${await made()} processes`);
  await eventually("they have ended", async () => Number(await processes()) < 100);
  await cloud.waitForSsh(id);
});

test("the clock cannot be set", async () => {
  const drift = () => Date.now() - performance.now();
  const before = drift();
  assert.match((await cloud.ssh(id, "date -s '2001-01-01 00:00'")).output, /Operation not permitted/);
  const set = `python3 -c "import time; time.clock_settime(time.CLOCK_REALTIME, 1e9)"`;
  assert.match((await cloud.ssh(id, set)).output, /PermissionError/);
  const adjust = `python3 -c "
import ctypes
buffer = ctypes.create_string_buffer(256)
buffer[0:4] = (0x4000).to_bytes(4, 'little')
print(ctypes.CDLL(None).adjtimex(buffer))"`;
  assert.equal((await cloud.ssh(id, adjust)).output, "-1");
  assert.ok(Math.abs(drift() - before) < 60_000);
});

test("kernel modules cannot be loaded or removed, nor another kernel started", async () => {
  const calls = { init_module: 175, delete_module: 176, kexec_load: 246, finit_module: 313, kexec_file_load: 320 };
  for (const [name, number] of Object.entries(calls)) {
    const call = `python3 -c "
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
print(c.syscall(${number}, 0, 0, 0, 0, 0), os.strerror(ctypes.get_errno()))"`;
    assert.match((await cloud.ssh(id, call)).output, /^-1 (Operation not permitted|Function not implemented)$/, name);
  }
});

const sysctls = {
  "/proc/sys/kernel/core_pattern": "|/tmp/x",
  "/proc/sys/kernel/panic": "7",
  "/proc/sys/kernel/sysrq": "1",
  "/proc/sys/kernel/modprobe": "/tmp/x",
  "/proc/sys/kernel/pid_max": "40000",
  "/proc/sys/vm/overcommit_memory": "2",
  "/proc/sys/vm/swappiness": "3",
  "/proc/sys/fs/file-max": "1000",
  "/proc/sys/user/max_user_namespaces": "0",
};
for (const [path, value] of Object.entries(sysctls)) {
  test(`the laptop's ${path} stays`, async () => {
    const before = readOrEmpty(path);
    // These two belong to the droplet's own namespaces: there a write may succeed, and must not be the laptop's.
    const ran = await cloud.ssh(id, `echo '${value}' > ${path}`);
    if (!/user|pid_max/.test(path)) {
      assert.notEqual(ran.code, 0);
    }
    assert.equal(readOrEmpty(path), before);
  });
}

test("what a fresh mount of /proc or /sys shows cannot be written either", async () => {
  const before = readOrEmpty("/proc/sys/vm/swappiness");
  await cloud.ssh(id, "mkdir -p /mnt/p && mount -t proc proc /mnt/p && echo 3 > /mnt/p/sys/vm/swappiness");
  await cloud.ssh(id, "mount -o remount,rw /proc; mount -o remount,rw /proc/sys; echo 3 > /proc/sys/vm/swappiness");
  assert.equal(readOrEmpty("/proc/sys/vm/swappiness"), before);
  assert.notEqual((await cloud.ssh(id, "mount -o remount,rw /sys")).code, 0);
  const knob = "/sys/kernel/mm/transparent_hugepage/enabled";
  const hugepages = readOrEmpty(knob);
  await cloud.ssh(
    id,
    `mkdir -p /mnt/s; mount -t sysfs sysfs /mnt/s; echo never > /mnt/s/kernel/mm/transparent_hugepage/enabled`,
  );
  await cloud.ssh(id, `echo never > ${knob}`);
  assert.equal(readOrEmpty(knob), hugepages);
});

test("the magic SysRq key is out of reach", async () => {
  // "h" prints a help text into the kernel log and does no more.
  assert.notEqual((await cloud.ssh(id, "echo h > /proc/sysrq-trigger")).code, 0);
});

test("the kernel log cannot be read", async () => {
  assert.notEqual((await cloud.ssh(id, "dmesg")).code, 0);
  assert.notEqual((await cloud.ssh(id, "head -c 1 /dev/kmsg")).code, 0);
  assert.notEqual((await cloud.ssh(id, "timeout 2 head -c 1 /proc/kmsg")).code, 0);
  const size = `python3 -c "
import ctypes, os
c = ctypes.CDLL(None, use_errno=True)
print(c.klogctl(10, None, 0), os.strerror(ctypes.get_errno()))"`;
  assert.equal((await cloud.ssh(id, size)).output, "-1 Operation not permitted");
});

test("the laptop's processes are neither seen nor hit", async () => {
  const sleeper = spawn("sleep", ["1000"]);
  try {
    const seen = await cloud.output(id, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
    assert.doesNotMatch(seen, /sleep 1000|main\.ts|launch\.py/);
    await cloud.ssh(id, `kill -9 ${sleeper.pid}`);
    await cloud.ssh(id, `python3 -c "import os; os.kill(-1, 0)"`);
    assert.equal(sleeper.exitCode, null);
    assert.equal(sleeper.signalCode, null);
  } finally {
    sleeper.kill();
  }
});

test("no device can be made, and nothing of the laptop's disks mounted", async () => {
  for (const kind of ["b 254 0", "b 7 0", "b 8 0", "c 1 1", "c 10 237"]) {
    assert.notEqual((await cloud.ssh(id, `mknod /root/device ${kind}`)).code, 0, kind);
    assert.notEqual((await cloud.ssh(id, `mknod /dev/device ${kind}`)).code, 0, kind);
  }
  const devices = await cloud.output(id, "find /dev -type b; find /dev -type c | sort");
  assert.deepEqual(
    devices.split("\n").filter((path) => !path.startsWith("/dev/pts/")),
    ["/dev/console", "/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"],
  );
  assert.notEqual(
    (await cloud.ssh(id, "truncate -s 9M /root/d && mkfs.ext4 -q /root/d; mount -o loop /root/d /mnt")).code,
    0,
  );
  assert.notEqual((await cloud.ssh(id, "mount -t devtmpfs none /mnt && ls /mnt/vda /mnt/loop0")).code, 0);
});

test("the way out by /proc/1/root or an open folder of the laptop is not there", async () => {
  const marker = readFileSync("/etc/hostname", "utf8");
  assert.notEqual((await cloud.ssh(id, "cat /proc/1/root/etc/hostname")).output, marker.trim());
  const descriptors = await cloud.output(id, "ls -l /proc/1/fd | tail -n +2");
  assert.doesNotMatch(descriptors, /disk\.raw|chillbox-|\/tmp\//);
  // The classic way out of a chroot.
  const climb = `mkdir -p /tmp/c; python3 -c "
import os
f = os.open('/', os.O_RDONLY)
os.chroot('/tmp/c')
os.fchdir(f)
for _ in range(100):
    os.chdir('..')
os.chroot('.')
print(os.path.exists('${cloud.settings.cloud}'))"`;
  assert.equal(await cloud.output(id, climb), "False");
});

test("a control group's release agent, which would run on the laptop, cannot be set", async () => {
  const agent = "for f in $(find /sys/fs/cgroup -name release_agent); do echo /tmp/x > $f && echo set; done; true";
  assert.equal(await cloud.output(id, agent), "");
  const hierarchy =
    "mkdir -p /mnt/c; mount -t cgroup -o freezer x /mnt/c && echo /tmp/x > /mnt/c/release_agent && echo set; true";
  assert.doesNotMatch((await cloud.ssh(id, hierarchy)).output, /^set$/m);
});

test("32-bit system calls, which have other numbers, do not pass by the filter", async () => {
  assert.match(await cloud.output(id, "grep Seccomp: /proc/self/status"), /2$/);
  // syslog(10, 0, 0), which tells the kernel log's size, by the old gate.
  const call = `python3 -c "
import ctypes, mmap
code = bytes.fromhex('53b867000000bb0a00000031c931d2cd805bc3')
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
print(ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))())"`;
  const ran = await cloud.ssh(id, call);
  // ENOSYS, or a kernel without that gate.
  assert.ok(ran.output === "-38" || ran.code > 128, `${ran.code} ${ran.output}`);
});

test("reboot from inside boots the same disk again", async () => {
  const before = await bootId();
  await cloud.output(id, "echo kept > /root/kept; sync");
  await cloud.ssh(id, "reboot").catch(() => {});
  await eventually("it has booted again", async () => (await bootId().catch(() => before)) !== before);
  assert.equal(await cloud.output(id, "cat /root/kept"), "kept");
  assert.equal(await cloud.status(id), "active");
});

test("reboot by the API, too", async () => {
  const before = await bootId();
  await cloud.act(id, "reboot");
  await cloud.waitForSsh(id);
  assert.notEqual(await bootId(), before);
});

test("shutdown by the API lets the droplet end its services, and power_on boots it", async () => {
  await cloud.output(id, "printf '#!/bin/sh\\necho stopped > /root/stopped\\n' > /etc/local.d/x.stop");
  await cloud.output(id, "chmod +x /etc/local.d/x.stop; rc-update -q add local default; rc-service -q local start");
  await cloud.act(id, "shutdown");
  assert.equal(await cloud.status(id), "off");
  await cloud.act(id, "power_on");
  await cloud.waitForSsh(id);
  assert.equal(await cloud.output(id, "cat /root/stopped"), "stopped");
});

test("poweroff from inside is noticed", async () => {
  await cloud.ssh(id, "poweroff").catch(() => {});
  await cloud.waitForStatus(id, "off");
  assert.deepEqual(
    leftOnMachine(cloud.settings).filter((line) => line.includes("droplet-") || line.startsWith("loop")),
    [],
  );
});

test("device nodes that an image brings do not open the laptop's devices, nor can its damage stop the laptop", async () => {
  const disk = join(cloud.settings.cloud, "droplets", String(id), "disk.raw");
  execFileSync("tune2fs", ["-e", "panic", disk]);
  const plant = `mount -o loop "$1" /mnt && mknod -m 0666 /mnt/root/memory c 1 1 && mknod -m 0666 /mnt/root/zero c 1 5 && umount /mnt`;
  execFileSync("unshare", ["--mount", "sh", "-c", plant, "sh", disk]);
  await cloud.act(id, "power_on");
  await cloud.waitForSsh(id);
  const options = await cloud.output(id, "grep ' / ' /proc/mounts");
  assert.match(options, /nodev/);
  assert.doesNotMatch(options, /errors=panic/);
  for (const name of ["memory", "zero"]) {
    const ran = await cloud.ssh(id, `head -c 1 /root/${name}`);
    assert.match(ran.output, /Permission denied|Operation not permitted/);
  }
});

test("pulling the plug takes effect at once", async () => {
  const start = performance.now();
  await cloud.act(id, "power_off");
  assert.ok(performance.now() - start < 5000);
  assert.equal(await cloud.status(id), "off");
  await cloud.act(id, "power_on");
  await cloud.waitForSsh(id);
});

test("when the local cloud is killed its droplets end, and come back with the next start", async () => {
  const killed = await readProcess(cloud.settings);
  process.kill(killed?.pid ?? 0, "SIGKILL");
  await eventually("no droplet is left", async () => {
    const groups = execFileSync(
      "find",
      ["/sys/fs/cgroup", "-path", `*chillbox-${cloud.settings.id}/droplet-*`, "-name", "cgroup.procs"],
      {
        encoding: "utf8",
      },
    );
    return groups.split("\n").every((path) => path === "" || readOrEmpty(path) === "");
  });
  assert.equal(await startCloud(cloud.settings), true);
  await cloud.waitForSsh(id);
  assert.equal(await cloud.output(id, "cat /root/kept"), "kept");
});

test("a stop shuts droplets down and leaves nothing but data", async () => {
  await stopCloud(cloud.settings);
  assert.deepEqual(leftOnMachine(cloud.settings), []);
  assert.equal(await startCloud(cloud.settings), true);
  await cloud.waitForSsh(id);
});

test("a destroyed droplet takes its disk with it", async () => {
  const folder = join(cloud.settings.cloud, "droplets", String(id));
  assert.ok(existsSync(folder));
  await cloud.api("DELETE", `droplets/${id}`);
  await eventually("the folder is gone", async () => !existsSync(folder));
  assert.deepEqual(
    leftOnMachine(cloud.settings).filter((line) => line.includes("droplet-") || line.startsWith("loop")),
    [],
  );
});

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
