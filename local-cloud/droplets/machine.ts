import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { toolPath } from "../run.ts";

/** How a droplet's init ended: see launch.py. */
export type Ending = "reboot" | "poweroff" | "killed" | "exited";

/** What launch.py needs to know; its head comment explains each. */
export interface LaunchSettings {
  readonly disk: string;
  readonly mountPoint: string;
  readonly uidBase: number;
  readonly hostname: string;
  readonly cgroups: readonly string[];
  readonly cgroupRoots: readonly string[];
  readonly cgroupVersion: 1 | 2;
  readonly console: string;
}

/** A droplet between power-on and power-off. */
export interface Machine {
  /** Of the droplet's init, on the laptop. */
  readonly pid: number;
  command(word: "start" | "poweroff" | "kill"): void;
  /** Resolves when nothing of it runs any more and its disk is unmounted. */
  readonly ended: Promise<Ending>;
}

/** Bytes of console that are kept at least. */
const consoleLimit = 1024 * 1024;

const launcher = fileURLToPath(new URL("launch.py", import.meta.url));

/**
 * Makes a droplet's namespaces and mounts its disk in them; its init waits for the command `start`.
 * @throws Error with what launch.py said when it cannot be done.
 */
export async function launch(settings: LaunchSettings, log: (line: string) => void): Promise<Machine> {
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
  return { pid: await created, command: (word) => void child.stdin.write(`${word}\n`), ended };
}

function readLines(stream: NodeJS.ReadableStream, use: (line: string) => void): void {
  let pending = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const parts = (pending + text).split("\n");
    pending = parts.pop() ?? "";
    parts.forEach(use);
  });
}
