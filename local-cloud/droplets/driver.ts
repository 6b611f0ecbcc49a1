import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import type { Router } from "../network/router.ts";
import type { DropletDriver, DropletSpec } from "../types.ts";
import { findCgroups, removeGroups } from "./cgroups.ts";
import type { Ending, Machine, MachineKind } from "./machine.ts";

/** Users of the laptop that droplets' users are: 4096 blocks of 65536, above what useradd and systemd give away. */
const firstUid = 1_879_048_192;
const uidBlocks = 4096;

/** Name of this copy's control group. */
export function groupName(settings: LocalCloudSettings): string {
  return `chillbox-${settings.id}`;
}

/** A driver whose droplets end with it. */
export interface StoppableDriver extends DropletDriver {
  /** Shuts all droplets down at once and pulls the plug on those that take too long. */
  stopAll(): Promise<void>;
}

/** Boots droplets from disks under `<cloud>/droplets/<id>/`, as machines of the kind that is given. */
export function createDriver(
  settings: LocalCloudSettings,
  network: Router,
  kind: MachineKind,
  log: (line: string) => void,
): StoppableDriver {
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
    // Of a boot that was cut off. Its disk must be free: two machines on one file system at once would destroy it.
    await removeGroups(host, group(spec.id));
    const uid = firstUid + ((Number.parseInt(settings.id, 16) + spec.id) % uidBlocks) * 65_536;
    const console = join(folder(spec.id), "console.log");
    const place = { disk: disk(spec.id), console, uid, host, groups: groupName(settings) };
    const machine = await kind.boot(spec, place).catch(async (error) => {
      await afterwards(spec.id).catch((another) => log(`droplet ${spec.id}: ${String(another)}`));
      throw error;
    });
    running.set(spec.id, machine);
    void machine.ended.then((ending) => byItself(spec, machine, ending));
    log(`droplet ${spec.id}: on`);
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

  async function stop(id: number, how: "kill" | "poweroff", milliseconds = kind.shutdownMilliseconds): Promise<void> {
    const machine = running.get(id);
    if (!machine) {
      return;
    }
    machine[how]();
    const timer = setTimeout(() => machine.kill(), milliseconds);
    await machine.ended;
    clearTimeout(timer);
    await afterwards(id);
    log(`droplet ${id}: off (${how})`);
  }

  return {
    create: (spec) =>
      inTurn(spec.id, async () => {
        if (!(await exists(disk(spec.id)))) {
          await kind.makeDisk(spec.imagePath, disk(spec.id), spec.diskGiB);
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
    stopAll: async () => {
      const ids = new Set([...running.keys(), ...turns.keys()]); // one that is just booting is not in `running` yet
      await Promise.all([...ids].map((id) => inTurn(id, () => stop(id, "poweroff", kind.stopMilliseconds))));
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
