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
 * What a copy has on the machine now, and the laptop's whole nftables ruleset. Other copies come and go meanwhile: what has neither
 * this copy's id nor its folder in it is theirs or the machine's.
 * @param id the copy's id, part of the name of everything that it makes
 * @param folder the copy's folder: processes count when they work in it, or carry it in command line or environment
 */
export function machineState(id: string, folder: string): MachineState {
  const own = (all: readonly string[]) => all.filter((line) => line.includes(id) || line.includes(folder));
  return {
    links: own(lines("ip", ["-o", "link"])).map((line) => line.split(": ")[1] ?? line),
    namespaces: own(lines("ip", ["netns", "list"])),
    routes: own(lines("ip", ["-4", "route", "show", "table", "all"])),
    rules: run("nft", ["list", "ruleset"]),
    mounts: own(readFileSync("/proc/self/mounts", "utf8").trim().split("\n")),
    loopDevices: own(lines("losetup", ["--noheadings", "--output", "NAME,BACK-FILE"])),
    cgroups: lines("find", ["/sys/fs/cgroup", "-maxdepth", "4", "-type", "d", "-name", `*${id}*`]),
    processes: processesOf(folder),
  };
}

/**
 * SHA-256 over names, kinds and contents of a folder's files; `"absent"` when there is no such folder.
 * @param without a folder in it that does not count
 */
export function folderDigest(folder: string, without?: string): string {
  const hash = createHash("sha256");
  try {
    const entries = readdirSync(folder, { recursive: true }).map(String).sort();
    for (const entry of entries.filter((name) => name.split("/")[0] !== without)) addToDigest(hash, folder, entry);
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
