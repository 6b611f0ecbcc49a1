import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { execa } from "execa";
import type { Report } from "./tool.ts";

/**
 * Does something while no other process on this host holds the same lock file.
 *
 * The kernel holds the lock for a `flock` process that ends with our end of its pipe: however this process ends, the lock is free.
 * @param file absolute path, made if missing and left where it is
 */
export async function withLock<T>(file: string, report: Report, action: () => Promise<T>): Promise<T> {
  await mkdir(dirname(file), { recursive: true });
  const holder = execa("flock", [file, "sh", "-c", "echo held; cat"], { stdin: "pipe", reject: false, buffer: false });
  const waiting = setTimeout(() => report(`waiting for another set-up that holds ${file}`), 1000);
  try {
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once("data", () => resolve());
      holder.then((result) => reject(new Error(`flock ${file}: ${result.shortMessage ?? "ended"}`)), reject);
    });
    clearTimeout(waiting);
    return await action();
  } finally {
    clearTimeout(waiting);
    holder.stdin.end();
    await holder;
  }
}
