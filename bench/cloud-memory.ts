import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/**
 * Memory of the local cloud's own processes, in MB (10^6 bytes): the sum of their proportional set sizes, in which a shared page
 * counts once. Processes in a droplet are in another pid namespace and do not count.
 * @param pid of the local cloud's main process
 */
export function cloudMemory(pid: number): number {
  const own = readlinkSync(`/proc/${pid}/ns/pid_for_children`);
  const bytes = family(pid)
    .filter((member) => namespaceOf(member) === own)
    .map(proportionalSetSize);
  return bytes.reduce((sum, one) => sum + one, 0) / 1e6;
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
