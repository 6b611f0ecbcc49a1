import { createSocket } from "node:dgram";
import { access, constants, readFile } from "node:fs/promises";
import { createServer } from "node:net";
import { release } from "node:os";
import { join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { findCgroups } from "./droplets/cgroups.ts";
import { overlaps, parseBlock } from "./network/addresses.ts";
import { addressPlan } from "./network/plan.ts";
import { metadataPort, routerName } from "./network/router.ts";
import { run, toolPath, tryRun } from "./run.ts";

/** The laptop's tools that the local cloud calls, and Debian's packages that have them. */
const tools: Readonly<Record<string, string>> = {
  ip: "iproute2",
  nft: "nftables",
  dnsmasq: "dnsmasq-base",
  "qemu-img": "qemu-utils",
  mount: "mount",
  losetup: "mount",
  flock: "util-linux",
  e2fsck: "e2fsprogs",
  resize2fs: "e2fsprogs",
  cp: "coreutils",
  python3: "python3",
};

/**
 * Whether this machine can run the local cloud, asked before anything is made.
 * @throws UserError that names the first thing missing and what to do.
 */
export async function checkMachine(settings: LocalCloudSettings): Promise<void> {
  checkRoot();
  addressPlan(settings.addressRange);
  await checkTools();
  if (settings.dropletDriver === "qemu") await checkQemu();
  await checkCgroups();
  checkKernel();
  await checkUserNamespaces();
  await checkRange(settings);
  await checkPorts(settings);
}

/** @throws UserError when this process is not root. */
export function checkRoot(userId: number | undefined = process.getuid?.()): void {
  if (userId !== 0) {
    throw new UserError(
      "The local cloud needs root, to make network namespaces and mount droplets' disks: run the command with sudo.",
    );
  }
}

/** @throws UserError with the packages to install. */
export async function checkTools(path: string = toolPath): Promise<void> {
  const missing = [];
  for (const tool of Object.keys(tools)) {
    if (!(await isOnPath(tool, path))) {
      missing.push(tool);
    }
  }
  if (missing.length > 0) {
    const packages = [...new Set(missing.map((tool) => tools[tool]))].join(" ");
    throw new UserError(`The local cloud needs ${missing.join(", ")}: apt-get install ${packages}`);
  }
}

/** @throws UserError with what is missing of the driver that only those need who choose it. */
export async function checkQemu(path: string = toolPath): Promise<void> {
  const chosen = "CHILLBOX_DROPLET_DRIVER is qemu, which needs";
  if (!(await isOnPath("qemu-system-x86_64", path))) {
    throw new UserError(`${chosen} qemu-system-x86_64: apt-get install qemu-system-x86`);
  }
  await access("/dev/net/tun").catch(() => {
    throw new UserError(`${chosen} /dev/net/tun: modprobe tun`);
  });
}

async function isOnPath(tool: string, path: string): Promise<boolean> {
  for (const folder of path.split(":").filter((part) => part !== "")) {
    const found = await access(join(folder, tool)).then(
      () => true,
      () => false,
    );
    if (found) {
      return true;
    }
  }
  return false;
}

async function checkCgroups(): Promise<void> {
  for (const { path } of (await findCgroups()).hierarchies) {
    await access(path, constants.W_OK).catch(() => {
      throw new UserError(
        `The control groups at ${path} cannot be changed: this looks like a container. Run the local cloud on the machine itself, or in a container that is allowed to (docker run --privileged --cgroupns=host).`,
      );
    });
  }
}

/** Droplets' disks are mounted with shifted owners, which ext4 can since Linux 5.12. */
function checkKernel(): void {
  const [major = 0, minor = 0] = release().split(".").map(Number);
  if (major < 5 || (major === 5 && minor < 12)) {
    throw new UserError(`The local cloud needs Linux 5.12 or newer; this machine runs ${release()}.`);
  }
}

async function checkUserNamespaces(): Promise<void> {
  const limit = await readFile("/proc/sys/user/max_user_namespaces", "utf8").catch(() => "0");
  if (Number(limit) === 0) {
    throw new UserError(
      "User namespaces are switched off on this machine: set the sysctl user.max_user_namespaces to 1000 or more.",
    );
  }
}

/**
 * Refuses a range that overlaps any route of the laptop but the one that this copy made itself.
 * @throws UserError
 */
export async function checkRange(settings: LocalCloudSettings): Promise<void> {
  const range = parseBlock(settings.addressRange);
  const text = await run("ip", ["-4", "-json", "route", "show", "table", "all"]);
  const routes = JSON.parse(text) as { dst: string; dev?: string }[];
  for (const { dst, dev } of routes) {
    const block = parseBlock(dst);
    if (range && block && dev !== routerName(settings) && overlaps(range, block)) {
      throw new UserError(
        `The address range ${settings.addressRange} is in use: this machine has a route to ${dst}${dev ? ` by ${dev}` : ""}. Set CHILLBOX_ADDRESS_RANGE to a block that it has none to, for example 10.200.0.0/18.`,
      );
    }
  }
}

async function checkPorts(settings: LocalCloudSettings): Promise<void> {
  for (const [name, port] of Object.entries(settings.ports)) {
    if (!(await isFreeTcp(port))) {
      throw new UserError(takenMessage(name, port, await ownerOf(port, "t")));
    }
  }
  if (!(await isFreeUdp(settings.ports.dns))) {
    throw new UserError(takenMessage("dns", settings.ports.dns, await ownerOf(settings.ports.dns, "u")));
  }
  // Only what listens on every address is in the way: each copy of the local cloud has an address of its own for this port.
  const { stdout } = await tryRun("ss", ["-H", "-ltn", `sport = :${metadataPort}`]);
  if (/(?:0\.0\.0\.0|\*|\[::\]):\d+ /.test(stdout)) {
    throw new UserError(
      `Port ${metadataPort}, which the local cloud needs (metadata), is taken on all addresses${await ownerOf(metadataPort, "t")}. End it.`,
    );
  }
}

function takenMessage(name: string, port: number, owner: string): string {
  return `Port ${port} on 127.0.0.1, which the local cloud needs (${name}), is taken${owner}. End it, or set CHILLBOX_PORT_BASE to another number.`;
}

async function ownerOf(port: number, kind: "t" | "u"): Promise<string> {
  const { stdout } = await tryRun("ss", ["-H", `-ln${kind}p`, `sport = :${port}`]);
  const [, program, pid] = /\(\("([^"]+)",pid=(\d+)/.exec(stdout) ?? [];
  return program ? ` by ${program} (process ${pid})` : "";
}

function isFreeTcp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function isFreeUdp(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.once("error", () => {
      socket.close();
      resolve(false);
    });
    socket.bind(port, "127.0.0.1", () => socket.close(() => resolve(true)));
  });
}
