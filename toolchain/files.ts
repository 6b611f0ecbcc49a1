import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { withLock } from "./lock.ts";
import type { Report } from "./tool.ts";

/**
 * Fills a folder so that it exists complete or not at all: `fill` gets an empty folder beside it, which is renamed at the end.
 * Only one process on this host fills it at a time; one that comes second finds it there. What killed ones left is removed.
 */
export async function fillFolder(
  folder: string,
  report: Report,
  fill: (temporary: string) => Promise<void>,
): Promise<void> {
  await withLock(`${folder}.lock`, report, async () => {
    if (await exists(folder)) return;
    await removeLeftovers(folder);
    const temporary = await mkdtemp(`${folder}.part-`);
    try {
      await fill(temporary);
      await rename(temporary, folder);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  });
}

async function removeLeftovers(folder: string): Promise<void> {
  const prefix = `${basename(folder)}.part-`;
  const names = await readdir(dirname(folder));
  await Promise.all(
    names
      .filter((name) => name.startsWith(prefix))
      .map((name) => rm(join(dirname(folder), name), { recursive: true, force: true })),
  );
}

/** Writes a file through a temporary one beside it, unless it has this content already. Returns whether it changed. */
export async function writeIfChanged(path: string, content: string, mode: number): Promise<boolean> {
  const old = await readIfThere(path);
  if (old === content && ((await stat(path)).mode & 0o777) === mode) return false;
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomBytes(4).toString("hex")}`;
  const file = await open(temporary, "wx", mode);
  try {
    await file.writeFile(content);
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  return true;
}

/** The content of a text file, or `undefined` when there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

/** Whether a file or folder is there (links followed). */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
