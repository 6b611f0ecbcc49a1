import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * Memory of the local cloud's own processes, in MB (10^6 bytes): the sum of their proportional set sizes, in which a shared page
 * counts once. Processes in a droplet are in another pid namespace and do not count.
 * @param pid of the local cloud's main process
 */
export function cloudMemory(pid: number): number {
  const own = readlinkSync(`/proc/${pid}/ns/pid_for_children`);
  return sum(family(pid).filter((member) => namespaceOf(member) === own));
}

/** What runs on a server, each in MB by proportional set sizes. */
export interface ServerMemory {
  readonly nginx: number;
  /** The supervisors, loggers and the holder of sockets. */
  readonly s6: number;
  /** Processes of the sites' users. */
  readonly sites: number;
  /** ssh, DHCP, time, cron ... */
  readonly rest: number;
}

/**
 * Memory of the processes in a droplet, as the laptop sees them.
 * @param pid of a process outside that started it: the local cloud's main process (with a single droplet), or the droplet's init
 */
export function serverMemory(pid: number): ServerMemory {
  const own = readlinkSync("/proc/self/ns/pid");
  const members = family(pid).filter((member) => namespaceOf(member) !== own);
  // The droplet's root is an ordinary user out here, and the lowest of its users.
  const firstUser = Math.min(...members.map(userOf));
  const kinds = { nginx: [] as number[], s6: [] as number[], sites: [] as number[], rest: [] as number[] };
  for (const member of members) kinds[kindOf(member, firstUser)].push(member);
  return { nginx: sum(kinds.nginx), s6: sum(kinds.s6), sites: sum(kinds.sites), rest: sum(kinds.rest) };
}

/** Sites' users have the ids from 2000 to 2999 in the droplet. */
function kindOf(pid: number, firstUser: number): keyof ServerMemory {
  const name = /^Name:\s+(\S+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? "";
  if (name.startsWith("s6-")) return "s6";
  if (name === "nginx") return "nginx";
  const user = userOf(pid) - firstUser;
  return user >= 2000 && user <= 2999 ? "sites" : "rest";
}

function userOf(pid: number): number {
  return Number(/^Uid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? Number.POSITIVE_INFINITY);
}

function family(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (/^\d+$/.test(name)) parents.set(Number(name), parentOf(name));
  }
  const members = new Set([root]);
  for (let before = 0; before !== members.size; ) {
    before = members.size;
    for (const [pid, parent] of parents) if (members.has(parent)) members.add(pid);
  }
  return [...members];
}

function parentOf(pid: string): number {
  return Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
}

function namespaceOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return ""; // It ended meanwhile.
  }
}

function sum(pids: readonly number[]): number {
  return pids.reduce((total, pid) => total + proportionalSetSize(pid), 0) / 1e6;
}

function proportionalSetSize(pid: number): number {
  return Number(/^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1024;
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // It ended meanwhile.
  }
}
