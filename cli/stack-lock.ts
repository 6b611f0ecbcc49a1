import { readFile, writeFile } from "node:fs/promises";
import { hostname, userInfo } from "node:os";
import { join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { isAlive } from "../lib/processes.ts";
import { UserError } from "../lib/user-error.ts";
import { withLock } from "../toolchain/lock.ts";
import { stack } from "./pulumi.ts";
import { holderText, type LockHolder, removeDeadLocks } from "./state-locks.ts";

interface StackLock extends LockHolder {
  readonly command: string;
}

/**
 * Does something with a stack (and the local cloud, if it is `local`) while no other command of this copy, and no Pulumi, changes it. The lock ends with
 * this process, however that ends; a lock of Pulumi's whose process is no more is removed.
 * @param command what holds the lock, for people
 * @param name the stack
 * @throws UserError that says who is at work and since when, and what to do
 */
export async function aloneWithStack<T>(
  settings: LocalCloudSettings,
  command: string,
  action: () => Promise<T>,
  name = stack,
): Promise<T> {
  const file = join(settings.home, name === stack ? "stack.lock" : `stack-${name}.lock`);
  const holder = { command, pid: process.pid, username: userInfo().username, hostname: hostname() };
  const doAlone = async () => {
    // Into the file that is locked, not over it: another file would be another lock.
    await writeFile(file, JSON.stringify({ ...holder, timestamp: new Date().toISOString() }));
    await removeDeadLocks(settings.repository, name);
    return action();
  };
  return withLock(
    file,
    () => {},
    doAlone,
    async () => new UserError(busyText(name, await readHolder(file))),
  );
}

/** Who is at work; `undefined` when it has come this moment, so that the last one's name is there or half of its own. */
async function readHolder(file: string): Promise<StackLock | undefined> {
  try {
    const lock = JSON.parse(await readFile(file, "utf8")) as StackLock;
    return isAlive(lock.pid) ? lock : undefined;
  } catch {
    return undefined;
  }
}

function busyText(name: string, lock: StackLock | undefined): string {
  const who = lock ? `\`${lock.command}\` (${holderText(lock)})` : "another command";
  return `Stack ${name} is being changed by ${who}. Wait until it has ended, then run the same command again.`;
}
