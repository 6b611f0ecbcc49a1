import { readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { UserError } from "../lib/user-error.ts";

/** Who holds a lock. Pulumi writes this into the locks of its state. */
export interface LockHolder {
  readonly pid: number;
  readonly username: string;
  readonly hostname: string;
  /** ISO 8601. */
  readonly timestamp: string;
}

/** A holder for people, such as `me@laptop, process 123, since 2026-01-01 00:00:00 UTC`. */
export function holderText({ pid, username, hostname: host, timestamp }: LockHolder): string {
  const since = Number.isNaN(Date.parse(timestamp))
    ? timestamp
    : `${new Date(timestamp).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  return `${username}@${host}, process ${pid}, since ${since}`;
}

/**
 * Pulumi's locks on a state folder never expire: removes those of processes that are no more on this host.
 * @param repository folder of `state/`
 * @throws UserError that names a lock whose owner lives or is on another host
 */
export async function removeDeadLocks(repository: string, stack: string): Promise<void> {
  const folder = join(repository, "state/.pulumi/locks/organization/chillbox", stack);
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((each) => each.endsWith(".json"))) {
    const path = join(folder, name);
    const lock = await readLock(path);
    if (lock === undefined || (lock.hostname === hostname() && !(await isPulumi(lock.pid)))) {
      await rm(path, { force: true });
      continue;
    }
    throw new UserError(
      `Stack ${stack} is being changed by Pulumi: ${holderText(lock)}. Wait until it has ended, then run the same command again. If it is no more, remove ${path}.`,
    );
  }
}

/** `undefined` for a lock that its writer did not finish. */
async function readLock(path: string): Promise<LockHolder | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as LockHolder;
  } catch {
    return undefined;
  }
}

/** A process number may have been given to another program since, and a killed process keeps its own until somebody asks for its end. */
async function isPulumi(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return /^\d+ \(pulumi\) [^ZX]/.test(stat);
}
