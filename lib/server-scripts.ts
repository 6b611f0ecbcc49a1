import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { hashFile, packFolder, readFolder, treeDigest } from "./archive.ts";

/** The scripts that run on the server, as one archive. */
export interface ServerScripts {
  /** Absolute path of a tar file whose paths start inside the folder. */
  readonly path: string;
  /** SHA-256 of the file in hex: the same for the same scripts, on any machine. */
  readonly sha256: string;
}

/**
 * Packs the server scripts, unless that was done before for the same content.
 * @param target folder for the archives; made if it is missing
 */
export async function packServerScripts(folder: string, target: string): Promise<ServerScripts> {
  const entries = await readFolder(folder, { keep: (path) => !path.includes("__pycache__") });
  const path = join(target, `${treeDigest(entries).slice(0, 16)}.tar`);
  const exists = await stat(path).catch(() => undefined);
  if (exists) return { path, sha256: await hashFile(path) };
  await mkdir(target, { recursive: true });
  return { path, sha256: (await packFolder(folder, entries, path)).sha256 };
}
