import { readdir, readFile, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { UserError } from "../lib/user-error.ts";

/** What Pulumi writes into a lock of its state. */
interface StateLock {
  readonly pid: number;
  readonly username: string;
  readonly hostname: string;
  readonly timestamp: string;
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
      `Stack ${stack} is locked by process ${lock.pid} of ${lock.username} on ${lock.hostname} since ${lock.timestamp}. Wait for it; if it is no more, remove ${path}.`,
    );
  }
}

/** `undefined` for a lock that its writer did not finish. */
async function readLock(path: string): Promise<StateLock | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as StateLock;
  } catch {
    return undefined;
  }
}

/** A process number may have been given to another program since. */
async function isPulumi(pid: number): Promise<boolean> {
  const name = await readFile(`/proc/${pid}/comm`, "utf8").catch(() => "");
  return name.trim() === "pulumi";
}
