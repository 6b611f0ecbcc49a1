import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";

/** Everything on this machine that a run of chillbox could leave behind. */
export interface MachineState {
  readonly links: readonly string[];
  readonly namespaces: readonly string[];
  readonly routes: readonly string[];
  readonly rules: string;
  readonly mounts: readonly string[];
  readonly loopDevices: readonly string[];
  readonly cgroups: readonly string[];
  readonly processes: readonly string[];
}

/**
 * The machine as it is now.
 * @param id the copy's id, part of the names of its control groups
 * @param folder the copy's folder: processes count when they work in it, or carry it in command line or environment
 */
export function machineState(id: string, folder: string): MachineState {
  return {
    links: lines("ip", ["-o", "link"]).map((line) => line.split(": ")[1] ?? line),
    namespaces: lines("ip", ["netns", "list"]),
    routes: lines("ip", ["-4", "route", "show", "table", "all"]),
    rules: run("nft", ["list", "ruleset"]),
    mounts: readFileSync("/proc/self/mounts", "utf8").trim().split("\n"),
    loopDevices: lines("losetup", ["--noheadings", "--output", "NAME,BACK-FILE"]),
    cgroups: lines("find", ["/sys/fs/cgroup", "-maxdepth", "4", "-type", "d", "-name", `*${id}*`]),
    processes: processesOf(folder),
  };
}

/** SHA-256 over names, kinds and contents of a folder's files; `"absent"` when there is no such folder. */
export function folderDigest(folder: string): string {
  const hash = createHash("sha256");
  try {
    for (const entry of readdirSync(folder, { recursive: true }).map(String).sort()) addToDigest(hash, folder, entry);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "absent";
    throw error;
  }
  return hash.digest("hex");
}

function addToDigest(hash: ReturnType<typeof createHash>, folder: string, entry: string): void {
  const path = join(folder, entry);
  const stats = lstatSync(path);
  hash.update(`${entry}\0${stats.mode}\0`);
  if (stats.isSymbolicLink()) hash.update(readlinkSync(path));
  else if (stats.isFile()) hash.update(readFileSync(path));
}

function processesOf(folder: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((pid) => ({ pid, text: readProcess(pid) }))
    .filter(({ text }) => text.includes(folder))
    .map(({ pid, text }) => `${pid} ${text.split("\n")[0]}`);
}

function readProcess(pid: string): string {
  try {
    const commandLine = readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ");
    const environment = readFileSync(`/proc/${pid}/environ`, "latin1").replaceAll("\0", " ");
    return `${commandLine}\n${readlinkSync(`/proc/${pid}/cwd`)}\n${environment}`;
  } catch {
    return ""; // It ended meanwhile.
  }
}

function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" });
}

function lines(command: string, args: readonly string[]): string[] {
  return run(command, args)
    .split("\n")
    .filter((line) => line !== "");
}
