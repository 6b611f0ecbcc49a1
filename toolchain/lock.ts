import { spawn } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { Report } from "./tool.ts";

/** What `flock` ends with when another process holds the lock; none of its own exit codes. */
const CONFLICT = 100;

/**
 * Does something while no other process on this host holds the same lock file.
 *
 * The kernel holds the lock for a `flock` process that ends with our end of its pipe: however this process ends, the lock is free.
 * @param file absolute path, made if missing and left where it is
 * @param refuse asked for the error with which to end when another one still holds the lock after a second; default: wait for it
 */
export async function withLock<T>(
  file: string,
  report: Report,
  action: () => Promise<T>,
  refuse?: () => Promise<Error>,
): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  // A second, because the lock of a process that was killed is free a moment later.
  const patience = refuse ? ["--wait", "1", "--conflict-exit-code", String(CONFLICT)] : [];
  const command = [...patience, file, "sh", "-c", "echo held; cat"];
  // Detached, because ^C at the terminal is not the end of an action that finishes its work first.
  const holder = spawn("flock", command, { stdio: ["pipe", "pipe", "inherit"], detached: true });
  const ended = new Promise<number | Error | null>((resolve) => {
    holder.once("error", resolve).once("close", resolve);
  });
  // Its end is told by its exit code.
  holder.stdin.on("error", () => {});
  const waiting = setTimeout(() => report(`waiting for another set-up that holds ${file}`), 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once("data", () => resolve());
      ended
        .then(async (outcome) => {
          if (refuse && outcome === CONFLICT) throw await refuse();
          throw new Error(`flock ${file}: ${outcome instanceof Error ? outcome.message : `ended with ${outcome}`}`);
        })
        .catch(reject);
    });
    clearTimeout(waiting);
    return await action();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
    await ended;
  }
}
