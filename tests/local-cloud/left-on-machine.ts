import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";

/**
 * Everything on this machine that belongs to one copy of the local cloud, besides its data: one line each. Other copies that run at the
 * same time do not matter.
 */
export function leftOnMachine({ id, home, addressRange }: LocalCloudSettings): string[] {
  const name = `chillbox-${id}`;
  return [
    ...matching("link", run("ip", ["-o", "link"]), name),
    ...matching("address", run("ip", ["-o", "address"]), name),
    ...matching("route", run("ip", ["-4", "route", "show", "table", "all"]), name),
    ...matching("route", run("ip", ["-4", "route", "show", "table", "all"]), addressRange),
    ...matching("namespace", run("ip", ["netns", "list"]), name),
    ...matching("rule", run("nft", ["list", "ruleset"]), "chillbox"),
    ...matching("mount", readFileSync("/proc/self/mountinfo", "utf8"), name),
    ...matching("mount", readFileSync("/proc/self/mountinfo", "utf8"), home),
    ...matching("loop device", run("losetup", ["--noheadings", "--output", "NAME,BACK-FILE"]), home),
    ...matching("control group", run("find", ["/sys/fs/cgroup", "-maxdepth", "3", "-type", "d"]), name),
    ...processes(home),
    ...(existsSync(`/run/${name}`) ? [`folder /run/${name}`] : []),
  ];
}

function matching(kind: string, text: string, part: string): string[] {
  return text
    .split("\n")
    .filter((line) => line.includes(part))
    .map((line) => `${kind} ${line.trim()}`);
}

/** Processes whose command line or environment names the copy, besides this one and what it is about to end. */
function processes(home: string): string[] {
  return readdirSync("/proc")
    .filter((name) => /^[0-9]+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => textOf(`/proc/${pid}/cmdline`).includes(home) || textOf(`/proc/${pid}/environ`).includes(home))
    .map((pid) => `process ${pid} ${executableOf(pid)}`);
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // it ended meanwhile
  }
}

function executableOf(pid: string): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return "";
  }
}

function run(command: string, args: readonly string[]): string {
  return execFileSync(command, args, { encoding: "utf8" });
}
