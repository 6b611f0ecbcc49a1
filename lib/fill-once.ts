import { randomBytes } from "node:crypto";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Fills a folder that exists complete or not at all; of two that do so at once, the first one's stays. */
export async function fillOnce(folder: string, fill: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${folder}.part-${process.pid}-${randomBytes(4).toString("hex")}`;
  await mkdir(dirname(folder), { recursive: true });
  await mkdir(temporary);
  try {
    await fill(temporary);
    await rename(temporary, folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

export async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
