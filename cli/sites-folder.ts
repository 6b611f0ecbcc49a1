import { readdir } from "node:fs/promises";
import { resolve } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { isSiteFile } from "../lib/names.ts";
import { UserError } from "../lib/user-error.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";

/** Where the site files are: `sitesFolder` of a stack, or `sites/`. An absolute path. */
export async function sitesFolder(settings: LocalCloudSettings, stack = stackOfLocalCloud): Promise<string> {
  const { sitesFolder: configured } = await readConfig(stackConfigFile(settings, stack));
  return resolve(settings.repository, typeof configured === "string" ? configured : "sites");
}

/**
 * Names of the site files in a folder, sorted.
 * @throws UserError when there is no such folder
 */
export async function listSiteFiles(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => {
    throw new UserError(`There is no folder ${folder}. Make it, or set "sitesFolder" to the right one.`);
  });
  return names.filter(isSiteFile).sort();
}
