import { existsSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import {
  type AllowedCommands,
  allowCommand,
  commandsDigest,
  commandsOf,
  isAllowed,
  showCommands,
} from "../lib/site-commands.ts";
import { readSiteFile } from "../lib/site-file.ts";
import { UserError } from "../lib/user-error.ts";
import { isConfirmed } from "./confirm.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { sitesFolder } from "./sites-folder.ts";
import { readConfig, setInConfig, stackConfigFile } from "./stack-config.ts";

export interface AllowOptions {
  readonly slug: string;
  /** Whose configuration remembers it. */
  readonly stack: string;
  /** Do not ask. */
  readonly yes: boolean;
}

const key = "allowedCommands";

/**
 * Shows the commands of a site file, asks, and remembers the digest of these commands in the stack's configuration.
 * @throws UserError when there is no such site or stack, the person says no, or nobody can be asked
 */
export async function allowCommands({ slug, stack, yes }: AllowOptions): Promise<void> {
  const settings = localCloudSettings();
  const file = stackConfigFile(settings, stack);
  if (stack !== stackOfLocalCloud && !existsSync(file)) {
    throw new UserError(`There is no ${basename(file)}: give --stack the name of one of your stacks.`);
  }
  const path = join(await sitesFolder(settings, stack), `${slug}.site.json`);
  if (!existsSync(path)) throw new UserError(`There is no site "${slug}": ${shown(path)} does not exist.`);
  const commands = commandsOf((await readSiteFile(path)).env);
  if (commands.length === 0) return print(`${shown(path)} has no commands: there is nothing to allow.`);
  print(`Commands of ${shown(path)}, which run on this machine, as you, when a version is built:`);
  print(showCommands(commands));
  if (isAllowed(slug, commands, await readAllowedCommands(settings, stack))) return print("They are allowed already.");
  if (
    !yes &&
    !(await isConfirmed("May they run?", `If the commands above may run: ${allowCommand(slug, stack)} --yes`))
  )
    throw new UserError("Nothing was allowed.");
  await setInConfig(file, [key, slug], commandsDigest(commands));
  print(`Allowed, until they change; ${basename(file)} remembers it.`);
}

/** The commands that a stack's configuration allows; what is not as it should be allows nothing here. */
export async function readAllowedCommands(
  settings: LocalCloudSettings,
  stack: string = stackOfLocalCloud,
): Promise<AllowedCommands> {
  const { [key]: allowed } = await readConfig(stackConfigFile(settings, stack));
  return typeof allowed === "object" && allowed !== null ? (allowed as AllowedCommands) : {};
}

function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

function shown(path: string): string {
  const short = relative(process.cwd(), path);
  return short.startsWith("..") ? path : short;
}
