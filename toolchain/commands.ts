import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** Folders of system programs that are not on everybody's PATH. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/**
 * Absolute path of the first program of this name on PATH or in the folders of system programs, or `undefined`.
 * @param skip a folder to leave out: set-up's own wrappers must not be taken for programs of the machine
 */
export async function findCommand(name: string, skip?: string): Promise<string | undefined> {
  for await (const path of commandsNamed(name, skip)) return path;
  return undefined;
}

/** Every program of this name on PATH, in PATH's order. */
export async function* commandsNamed(name: string, skip?: string): AsyncGenerator<string> {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_FOLDERS];
  for (const folder of new Set(folders)) {
    if (folder === "" || folder === skip) continue;
    const path = join(folder, name);
    if (await isProgram(path)) yield path;
  }
}

/** Whether a file can be run by us. */
export async function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
