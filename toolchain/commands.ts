import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";

/** Folders of system programs that are not on everybody's PATH. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** Absolute path of the first program of this name on PATH or in the folders of system programs, or `undefined`. */
export async function findCommand(name: string): Promise<string | undefined> {
  for await (const path of commandsNamed(name)) return path;
  return undefined;
}

/** Every program of this name on PATH, in PATH's order. */
export async function* commandsNamed(name: string): AsyncGenerator<string> {
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...SYSTEM_FOLDERS];
  for (const folder of new Set(folders)) {
    const path = join(folder, name);
    if (folder !== "" && (await isProgram(path))) yield path;
  }
}

/** Whether a file can be run by us. */
export async function isProgram(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
