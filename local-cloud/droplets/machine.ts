import type { DropletSpec } from "../types.ts";
import type { CgroupHost } from "./cgroups.ts";

/** How a droplet ended; `exited` is an init that ended without shutting down. */
export type Ending = "reboot" | "poweroff" | "killed" | "exited";

/** A droplet between power-on and power-off. */
export interface Machine {
  /** On the laptop: of its init, or of the program that it runs in. */
  readonly pid: number;
  /** Asks its init to shut down. */
  poweroff(): void;
  /** Like pulling the plug. */
  kill(): void;
  /** Resolves when nothing of it runs any more and its disk is free. */
  readonly ended: Promise<Ending>;
}

/** What of the laptop one boot of a droplet gets. */
export interface Place {
  /** Its disk, a raw file. */
  readonly disk: string;
  /** Where its console's output goes. */
  readonly console: string;
  /** The first of the 65536 users and groups of the laptop that are the droplet's own. */
  readonly uid: number;
  readonly host: CgroupHost;
  /** The control group that all droplets' are in. */
  readonly groups: string;
}

/** A way to run droplets: `CHILLBOX_DROPLET_DRIVER` names it. */
export interface MachineKind {
  /** Copies an image to a droplet's disk of so many GiB. */
  makeDisk(imagePath: string, diskPath: string, diskGiB: number): Promise<void>;
  /** Boots a droplet, its interfaces attached; the driver detaches them and removes its control groups afterwards, also when this throws. */
  boot(spec: DropletSpec, place: Place): Promise<Machine>;
  /** How long a droplet has for its own shutdown before the plug is pulled. */
  readonly shutdownMilliseconds: number;
  /** The same when the whole local cloud stops. */
  readonly stopMilliseconds: number;
}

/** Bytes of console that are kept at least; an older file of that size stays beside it. */
export const consoleLimit = 1024 * 1024;

/** Gives each line of a stream to `use`. */
export function readLines(stream: NodeJS.ReadableStream, use: (line: string) => void): void {
  let pending = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const parts = (pending + text).split("\n");
    pending = parts.pop() ?? "";
    parts.forEach(use);
  });
}
