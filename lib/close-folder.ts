import { chmodSync, statSync } from "node:fs";

/** Closes a folder to everybody but its owner, where it is there and still open. */
export function closeFolder(path: string): void {
  const mode = statSync(path, { throwIfNoEntry: false })?.mode ?? 0;
  if ((mode & 0o077) !== 0) chmodSync(path, 0o700);
}
