import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";

/**
 * SHA-256 (64 hex digits) over every file in `image/`: path, whether it is executable, content. It changes when, and only when,
 * what the image is made of changes; newer packages of the same Debian or Alpine release do not change it.
 */
export function imageDigest(folder: string = import.meta.dirname): string {
  const hash = createHash("sha256");
  for (const path of filesIn(folder)) {
    const executable = (statSync(path).mode & 0o100) !== 0;
    const content = createHash("sha256").update(readFileSync(path)).digest("hex");
    hash.update(`${relative(folder, path)}\0${executable ? "x" : "-"}\0${content}\n`);
  }
  return hash.digest("hex");
}

function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
