import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Makes a folder for us alone (0700), on tmpfs where there is one, for what a program takes from files only. Its name has our process id:
 * those that killed processes left behind go away.
 * @param prefix of its name, `chillbox-...-`; each has folders of its own
 * @returns its path; who makes it removes it
 */
export async function makePrivateFolder(prefix: string): Promise<string> {
  const base = (await isWritableTmpfs("/dev/shm")) ? "/dev/shm" : tmpdir();
  for (const name of await readdir(base)) {
    const owner = name.startsWith(prefix) ? Number(name.slice(prefix.length).split("-")[0]) : 0;
    if (owner > 0 && !isAlive(owner))
      await rm(join(base, name), { recursive: true, force: true }).catch(() => undefined);
  }
  return mkdtemp(join(base, `${prefix}${process.pid}-`));
}

/** Writes a file that is for us alone (0600). */
export async function writePrivate(path: string, content: string): Promise<void> {
  await writeFile(path, content, { mode: 0o600 });
  await chmod(path, 0o600);
}

async function isWritableTmpfs(path: string): Promise<boolean> {
  const mounts = await readFile("/proc/mounts", "utf8").catch(() => "");
  return mounts.split("\n").some((line) => line.split(" ")[1] === path && line.split(" ")[2] === "tmpfs");
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
