import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { runtimeFolder } from "../network/dhcp.ts";
import type { Router } from "../network/router.ts";
import type { DropletDriver, DropletSpec } from "../types.ts";
import { type CgroupHost, findCgroups, makeDropletGroups, removeGroups } from "./cgroups.ts";
import { checkDisk, freeLoopDevices, makeDisk } from "./disk.ts";
import { type Ending, launch, type Machine } from "./machine.ts";

/** How long a droplet has for its own shutdown before the plug is pulled. */
const shutdownMilliseconds = 30_000;

/** Users of the laptop that droplets' users are: 4096 blocks of 65536, above what useradd and systemd give away. */
const firstUid = 1_879_048_192;
const uidBlocks = 4096;

/** Name of this copy's control group. */
export function groupName(settings: LocalCloudSettings): string {
  return `chillbox-${settings.id}`;
}

/** A driver whose droplets end with it. */
export interface NamespaceDriver extends DropletDriver {
  /** Shuts all droplets down at once and pulls the plug on those that take longer than `milliseconds`. */
  stopAll(milliseconds: number): Promise<void>;
}

/** Boots droplets in namespaces on the laptop (launch.py), from disks under `<cloud>/droplets/<id>/`. */
export function createNamespaceDriver(
  settings: LocalCloudSettings,
  network: Router,
  log: (line: string) => void,
): NamespaceDriver {
  const running = new Map<number, Machine>();
  const turns = new Map<number, Promise<unknown>>();
  const listeners: ((id: number, running: boolean) => void)[] = [];

  /** One change of a droplet at a time, in the order of the calls. */
  function inTurn<T>(id: number, action: () => Promise<T>): Promise<T> {
    const result = (turns.get(id) ?? Promise.resolve()).then(action);
    turns.set(
      id,
      result.catch(() => {}),
    );
    return result;
  }

  const folder = (id: number) => join(settings.cloud, "droplets", String(id));
  const disk = (id: number) => join(folder(id), "disk.raw");
  const group = (id: number) => join(groupName(settings), `droplet-${id}`);

  async function boot(spec: DropletSpec): Promise<void> {
    if (running.has(spec.id)) {
      return;
    }
    const host = await findCgroups();
    // Of a boot that was cut off. Its disk must be free: two mounts of one file system at once would destroy it.
    await removeGroups(host, group(spec.id));
    await freeLoopDevices(disk(spec.id));
    await checkDisk(disk(spec.id));
    const machine = await makeMachine(host, spec).catch(async (error) => {
      await removeGroups(host, group(spec.id)).catch((another) => log(`droplet ${spec.id}: ${String(another)}`));
      throw error;
    });
    try {
      await network.attachNic(spec.id, 0, spec.publicNic, machine.pid);
      if (spec.privateNic) {
        await network.attachNic(spec.id, 1, spec.privateNic, machine.pid);
      }
      machine.command("start");
    } catch (error) {
      machine.command("kill");
      await machine.ended;
      await afterwards(spec.id);
      throw error;
    }
    running.set(spec.id, machine);
    void machine.ended.then((ending) => byItself(spec, machine, ending));
    log(`droplet ${spec.id}: on`);
  }

  /** The droplet's control groups and namespaces, with its disk in them. */
  async function makeMachine(host: CgroupHost, spec: DropletSpec): Promise<Machine> {
    const uidBase = firstUid + ((Number.parseInt(settings.id, 16) + spec.id) % uidBlocks) * 65_536;
    const cgroups = await makeDropletGroups(host, groupName(settings), spec, uidBase);
    return launch(
      {
        disk: disk(spec.id),
        // Each droplet's is in a mount namespace of its own. Not in the home folder: the droplet's root may not look into that.
        mountPoint: join(runtimeFolder(settings), "root"),
        uidBase,
        hostname: spec.name,
        cgroups,
        cgroupRoots: host.hierarchies.map(({ path }) => path),
        cgroupVersion: host.version,
        console: join(folder(spec.id), "console.log"),
      },
      log,
    );
  }

  /** What follows when a droplet's init ends without our asking: a restart, or nothing. */
  async function byItself(spec: DropletSpec, machine: Machine, ending: Ending): Promise<void> {
    if (running.get(spec.id) !== machine) {
      return;
    }
    await inTurn(spec.id, async () => {
      if (running.get(spec.id) !== machine) {
        return;
      }
      await afterwards(spec.id);
      log(`droplet ${spec.id}: ended by itself (${ending})`);
      tell(spec.id, false);
      if (ending === "reboot") {
        await boot(spec);
        tell(spec.id, true);
      }
    }).catch((error) => log(`droplet ${spec.id}: ${String(error)}`));
  }

  function tell(id: number, isOn: boolean): void {
    for (const listener of listeners) {
      listener(id, isOn);
    }
  }

  async function afterwards(id: number): Promise<void> {
    running.delete(id);
    await network.detachNics(id);
    await removeGroups(await findCgroups(), group(id));
  }

  async function stop(id: number, how: "kill" | "poweroff", milliseconds = shutdownMilliseconds): Promise<void> {
    const machine = running.get(id);
    if (!machine) {
      return;
    }
    machine.command(how);
    const timer = setTimeout(() => machine.command("kill"), milliseconds);
    await machine.ended;
    clearTimeout(timer);
    await afterwards(id);
    log(`droplet ${id}: off (${how})`);
  }

  return {
    create: (spec) =>
      inTurn(spec.id, async () => {
        if (!(await exists(disk(spec.id)))) {
          await makeDisk(spec.imagePath, disk(spec.id), spec.diskGiB);
        }
      }),
    powerOn: (spec) => inTurn(spec.id, () => boot(spec)),
    powerOff: (id) => inTurn(id, () => stop(id, "kill")),
    shutdown: (id) => inTurn(id, () => stop(id, "poweroff")),
    reboot: (spec) =>
      inTurn(spec.id, async () => {
        await stop(spec.id, "poweroff");
        await boot(spec);
      }),
    destroy: (id) =>
      inTurn(id, async () => {
        await stop(id, "kill");
        await removeGroups(await findCgroups(), group(id)); // of a boot that failed
        await rm(folder(id), { recursive: true, force: true });
        turns.delete(id);
      }),
    stopAll: async (milliseconds) => {
      const ids = new Set([...running.keys(), ...turns.keys()]); // one that is just booting is not in `running` yet
      await Promise.all([...ids].map((id) => inTurn(id, () => stop(id, "poweroff", milliseconds))));
    },
    isRunning: (id) => running.has(id),
    onChange: (listener) => {
      listeners.push(listener);
    },
  };
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
