import { spawn } from "node:child_process";
import { appendFileSync, renameSync, statSync } from "node:fs";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { type Router, routerName } from "../network/router.ts";
import { toolPath } from "../run.ts";
import type { DropletSpec, Nic } from "../types.ts";
import { type Accelerator, findAccelerator } from "./accelerator.ts";
import { makeDropletGroups } from "./cgroups.ts";
import { makeDisk } from "./disk.ts";
import { consoleLimit, type Ending, type Machine, type MachineKind, readLines } from "./machine.ts";

/** What qemu itself needs beside the droplet's memory; the larger part of it is for code that it has translated. */
const overheadMiB = 512;

/** How often the power button is pressed: a droplet that is just booting does not notice it yet. */
const buttonMilliseconds = 5000;

const starter = fileURLToPath(new URL("start-qemu.py", import.meta.url));

/**
 * Droplets as virtual machines: the image's own boot loader and kernel, a disk whose unwritten data a power cut takes away, a clock that
 * can be set. Emulated in software where the processor's help is not to be had, at a tenth of the speed or less.
 */
export function qemuKind(settings: LocalCloudSettings, network: Router, log: (line: string) => void): MachineKind {
  const accelerator = findAccelerator(log);
  accelerator.catch(() => {}); // thrown at each boot
  return {
    makeDisk,
    shutdownMilliseconds: 180_000,
    stopMilliseconds: 120_000,
    boot: async (spec, { disk, console, uid, host, groups }) => {
      const taps = [await network.attachNic(spec.id, 0, spec.publicNic)];
      if (spec.privateNic) taps.push(await network.attachNic(spec.id, 1, spec.privateNic));
      return startQemu({
        uid,
        cgroups: await makeDropletGroups(host, groups, { id: spec.id, memoryMiB: spec.memoryMiB + overheadMiB }, 0),
        disk,
        router: routerName(settings),
        taps,
        command: qemuCommand(spec, nicsOf(spec), await accelerator),
        console,
        log: (line) => log(`droplet ${spec.id}: ${line}`),
      });
    },
  };
}

function nicsOf({ publicNic, privateNic }: DropletSpec): Nic[] {
  return [publicNic, ...(privateNic ? [privateNic] : [])];
}

/**
 * qemu and its arguments for a machine of a plan's memory and processors.
 * Descriptors that start-qemu.py gives it: 3 and 4 are connections to this process, 10 is the disk, 11 and 12 the cards.
 */
export function qemuCommand(
  plan: { readonly memoryMiB: number; readonly vcpus: number },
  nics: readonly { readonly mac: string }[],
  accelerator: Accelerator,
): string[] {
  return [
    ...["qemu-system-x86_64", "-no-user-config", "-nodefaults", "-display", "none"],
    ...["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"],
    ...["-machine", "q35", ...accelerator.options],
    ...["-m", `${plan.memoryMiB}`, "-smp", `${plan.vcpus}`],
    ...["-rtc", "base=utc,clock=host"],
    ...["-chardev", "socket,id=control,fd=3", "-mon", "chardev=control,mode=control"],
    ...["-chardev", "socket,id=console,fd=4", "-serial", "chardev:console"],
    ...["-add-fd", "fd=10,set=1"],
    // Through the laptop's cache, which a droplet's power cut does not touch; the droplet's own flushes go down to the laptop's disk.
    ...["-blockdev", "driver=file,node-name=file,filename=/dev/fdset/1,auto-read-only=off,discard=unmap"],
    ...["-blockdev", "driver=raw,node-name=disk,file=file,discard=unmap"],
    ...["-device", "virtio-blk-pci,drive=disk,bootindex=0"],
    ...nics.flatMap(({ mac }, index) => [
      ...["-netdev", `tap,id=nic${index},fd=${11 + index}`],
      ...["-device", `virtio-net-pci,netdev=nic${index},mac=${mac},romfile=`],
    ]),
    ...["-device", "virtio-rng-pci"],
  ];
}

/** What start-qemu.py needs to know, and where the console goes. */
export interface QemuStart {
  readonly uid: number;
  readonly cgroups: readonly string[];
  readonly disk: string;
  readonly router: string;
  readonly taps: readonly string[];
  readonly command: readonly string[];
  readonly console: string;
  readonly log: (line: string) => void;
}

/**
 * Starts qemu and waits until the machine in it runs. It ends with this process.
 * @throws Error with what it said when it ends before.
 */
export async function startQemu({ console, log, ...start }: QemuStart): Promise<Machine> {
  const child = spawn("python3", ["-I", "-B", starter, JSON.stringify(start)], {
    stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
    env: { PATH: toolPath, LC_ALL: "C.UTF-8" },
  });
  const [control, output] = [child.stdio[3] as Duplex, child.stdio[4] as Duplex];
  let complaint = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    complaint = (complaint + text).slice(-2000);
    log(text.trim());
  });
  for (const stream of [control, output]) stream.on("error", () => {}); // it has ended, which `ended` tells
  output.on("data", (data: Buffer) => keepConsole(console, data));

  let ending: Ending = "killed";
  const ended = new Promise<Ending>((resolve) => {
    child.on("close", () => {
      clearInterval(button);
      resolve(ending);
    });
  });
  let button: NodeJS.Timeout | undefined;
  const say = (command: string) => void control.write(`${JSON.stringify({ execute: command })}\n`);
  const press = () => say("system_powerdown");
  await new Promise<void>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", () => reject(new Error(`the droplet could not be booted: ${complaint.trim()}`)));
    readLines(control, (line) => {
      const message = JSON.parse(line) as Message;
      if (message.QMP) say("qmp_capabilities");
      if (message.return) resolve();
      if (message.event === "SHUTDOWN" && message.data?.reason === "guest-shutdown") ending = "poweroff";
    });
  });
  return {
    pid: child.pid ?? 0,
    poweroff: () => {
      press();
      button ??= setInterval(press, buttonMilliseconds);
    },
    kill: () => void child.kill("SIGKILL"),
    ended,
  };
}

/** Of qemu's machine protocol: its greeting, an answer, or an event. */
interface Message {
  readonly QMP?: object;
  readonly return?: object;
  readonly event?: string;
  readonly data?: { readonly reason?: string };
}

/** Adds to the console's log, which stays small. */
function keepConsole(path: string, data: Buffer): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size + data.length > consoleLimit) renameSync(path, `${path}.old`);
  appendFileSync(path, data, { mode: 0o600 });
}
