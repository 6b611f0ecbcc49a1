import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { toolPath } from "../run.ts";
import { numberToAddress, parseBlock } from "./addresses.ts";
import type { AddressPlan } from "./plan.ts";

/** A droplet's fixed lease. */
export interface Lease {
  readonly mac: string;
  readonly address: string;
  readonly name: string;
}

/** DHCP and DNS for droplets. */
export interface Dhcp {
  start(): Promise<void>;
  /** Makes exactly these leases the ones that are given. */
  setHosts(leases: readonly Lease[]): Promise<void>;
  stop(): Promise<void>;
}

/** Files that live as long as the router. Not in the home folder: dnsmasq reads them as nobody. */
export function runtimeFolder(settings: LocalCloudSettings): string {
  return `/run/chillbox-${settings.id}`;
}

/** dnsmasq in the router: fixed leases by MAC address, names forwarded to the local cloud's DNS server. */
export function createDhcp(
  settings: LocalCloudSettings,
  plan: AddressPlan,
  namespace: string,
  log: (line: string) => void,
): Dhcp {
  const folder = runtimeFolder(settings);
  const hostsFile = join(folder, "dhcp-hosts");
  let child: ChildProcess | undefined;
  /** Who dnsmasq may remember as the holder of each address. */
  let holders = new Map<string, string>();
  let wanted = false;

  async function start(): Promise<void> {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o755);
    await writeHosts(hostsFile, []);
    wanted = true;
    await run();
  }

  async function run(): Promise<void> {
    await rm(join(folder, "leases"), { force: true });
    const started = spawn("ip", ["netns", "exec", namespace, "dnsmasq", ...options()], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, PATH: toolPath },
    });
    child = started;
    let tail = "";
    started.stderr.setEncoding("utf8").on("data", (text: string) => {
      tail = (tail + text).slice(-2000);
      for (const line of text.split("\n").filter((part) => part !== "")) {
        log(line);
      }
    });
    const failed = once(started, "exit").then(() => {
      throw new Error(`dnsmasq ended: ${tail.trim()}`);
    });
    failed.catch(() => {});
    try {
      await Promise.race([failed, until(() => tail.includes("started"))]);
    } catch (error) {
      started.kill("SIGKILL");
      throw error;
    }
    started.once("exit", () => void revive());
  }

  /** Without it no droplet could boot: tried once a second until it runs. */
  async function revive(): Promise<void> {
    for (;;) {
      await sleep(1000);
      if (!wanted || (child !== undefined && !hasEnded(child))) return;
      log("dnsmasq has ended by itself, starting it again");
      try {
        await run();
        return;
      } catch (error) {
        log(`dnsmasq: ${String(error)}`);
      }
    }
  }

  function options(): string[] {
    const block = parseBlock(plan.publicBlock.cidr);
    return [
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--log-facility=-",
      "--pid-file=",
      "--user=nobody",
      "--interface=d*e0",
      "--bind-dynamic",
      "--no-hosts",
      "--no-resolv",
      "--no-poll",
      `--server=${plan.hostAddress}#${settings.ports.dns}`,
      "--cache-size=0", // a zone's change shows at once
      `--dhcp-range=${numberToAddress(block?.first ?? 0)},static,${plan.publicBlock.netmask},1h`,
      "--dhcp-authoritative",
      "--dhcp-no-override",
      "--no-ping",
      `--dhcp-option=option:router,${plan.publicBlock.gateway}`,
      `--dhcp-option=option:dns-server,${plan.publicBlock.gateway}`,
      `--dhcp-hostsfile=${hostsFile}`,
      `--dhcp-leasefile=${join(folder, "leases")}`,
    ];
  }

  async function setHosts(leases: readonly Lease[]): Promise<void> {
    const isPassedOn = leases.some(({ mac, address }) => (holders.get(address) ?? mac) !== mac);
    if (isPassedOn) holders = new Map();
    for (const { mac, address } of leases) holders.set(address, mac);
    await writeHosts(hostsFile, leases);
    // dnsmasq keeps an address for whoever had it last: only one that knows no leases gives it to another droplet.
    if (isPassedOn) {
      await end();
      await run();
    } else child?.kill("SIGHUP");
  }

  async function stop(): Promise<void> {
    wanted = false;
    await end();
  }

  async function end(): Promise<void> {
    if (child && !hasEnded(child)) {
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
    }
    child = undefined;
  }

  return { start, setHosts, stop };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** dnsmasq reads it as nobody. */
async function writeHosts(path: string, leases: readonly Lease[]): Promise<void> {
  const text = leases.map(({ mac, address, name }) => `${mac},${address},${name},1h\n`).join("");
  await writeFile(`${path}.new`, text);
  await chmod(`${path}.new`, 0o644);
  await rename(`${path}.new`, path);
}

async function until(condition: () => boolean, milliseconds = 20_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  while (!condition()) {
    if (Date.now() > deadline) {
      throw new Error("dnsmasq did not start within 20 s");
    }
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
