import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { runtimeFolder } from "../network/dhcp.ts";
import type { Router } from "../network/router.ts";
import { toolPath } from "../run.ts";
import { makeDropletGroups } from "./cgroups.ts";
import { checkDisk, freeLoopDevices, makeGrownDisk } from "./disk.ts";
import { consoleLimit, type Ending, type Machine, type MachineKind, readLines } from "./machine.ts";

/** Droplets in namespaces of the laptop's own kernel (launch.py): quick to boot, and all that most work on a server needs. */
export function namespaceKind(settings: LocalCloudSettings, network: Router, log: (line: string) => void): MachineKind {
  return {
    makeDisk: makeGrownDisk,
    shutdownMilliseconds: 30_000,
    stopMilliseconds: 10_000,
    boot: async (spec, { disk, console, uid, host, groups }) => {
      await freeLoopDevices(disk);
      await checkDisk(disk);
      const machine = await launch(
        {
          disk,
          // Each droplet's is in a mount namespace of its own. Not in the home folder: the droplet's root may not look into that.
          mountPoint: join(runtimeFolder(settings), "root"),
          uidBase: uid,
          hostname: spec.name,
          cgroups: await makeDropletGroups(host, groups, spec, uid),
          cgroupRoots: host.hierarchies.map(({ path }) => path),
          cgroupVersion: host.version,
          console,
        },
        log,
      );
      try {
        await network.attachNic(spec.id, 0, spec.publicNic, machine.pid);
        if (spec.privateNic) {
          await network.attachNic(spec.id, 1, spec.privateNic, machine.pid);
        }
        machine.start();
        return machine;
      } catch (error) {
        machine.kill();
        await machine.ended;
        throw error;
      }
    },
  };
}

/** What launch.py needs to know; its head comment explains each. */
interface LaunchSettings {
  readonly disk: string;
  readonly mountPoint: string;
  readonly uidBase: number;
  readonly hostname: string;
  readonly cgroups: readonly string[];
  readonly cgroupRoots: readonly string[];
  readonly cgroupVersion: 1 | 2;
  readonly console: string;
}

/** A droplet whose namespaces are there; its init waits for `start`. */
export interface Launched extends Machine {
  start(): void;
}

const launcher = fileURLToPath(new URL("launch.py", import.meta.url));

/**
 * Makes a droplet's namespaces and mounts its disk in them.
 * @throws Error with what launch.py said when it cannot be done.
 */
export async function launch(settings: LaunchSettings, log: (line: string) => void): Promise<Launched> {
  await mkdir(settings.mountPoint, { recursive: true });
  const child = spawn("python3", ["-I", launcher], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { PATH: toolPath, LC_ALL: "C.UTF-8" },
  });
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-2000);
    log(`launch: ${text.trim()}`);
  });
  child.stdin.on("error", () => {}); // it has ended, which `ended` tells
  child.stdin.write(`${JSON.stringify({ ...settings, consoleLimit })}\n`);

  let ending: Ending = "killed";
  const created = new Promise<number>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => reject(new Error(`the droplet could not be booted: ${complaint.trim()}`)));
    readLines(child.stdout, (line) => {
      const event = JSON.parse(line) as { event: "created"; pid: number } | { event: "ended"; how: Ending };
      if (event.event === "created") {
        resolve(event.pid);
      } else {
        ending = event.how;
      }
    });
  });
  const ended = new Promise<Ending>((resolve) => {
    child.on("close", () => resolve(ending));
  });
  const command = (word: string) => void child.stdin.write(`${word}\n`);
  return {
    pid: await created,
    start: () => command("start"),
    poweroff: () => command("poweroff"),
    kill: () => command("kill"),
    ended,
  };
}
