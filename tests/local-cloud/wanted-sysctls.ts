import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";

/** Where the settings are that a server's kernel gets. */
const folder = resolve(import.meta.dirname, "../../server-scripts/sysctl");

/** What a server's kernel is to have: a path in /proc/sys and its value, one for each line of the files. */
export function wantedSysctls(): [path: string, value: string][] {
  return sysctlFiles()
    .flatMap(({ text }) => text.split("\n"))
    .filter((line) => /^[a-z]/.test(line))
    .map((line) => {
      const [name = "", value = ""] = line.split(" = ");
      return [`/proc/sys/${name.replaceAll(".", "/")}`, value];
    });
}

/** The files themselves. */
export function sysctlFiles(): { name: string; text: string }[] {
  return readdirSync(folder).map((name) => ({ name, text: readFileSync(join(folder, name), "utf8") }));
}
