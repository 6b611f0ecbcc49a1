import { sha256 } from "./archive.ts";
import { runCommand } from "./laptop-process.ts";
import type { NameAndValue, SiteFile } from "./site-file.ts";
import { UserError, visible } from "./user-error.ts";

/** Commands of a site file (`env[].cmd`), whose output is the value of a variable. They run on the laptop and need a person's permission. */

/** A command of a site file. */
export interface SiteCommand {
  /** Where it stands, such as `env[0].cmd`. */
  readonly key: string;
  /** The variable. */
  readonly name: string;
  readonly cmd: string;
}

/** A command that was run when a release was built, with the value that it gave. */
export interface CommandValue extends NameAndValue {
  readonly cmd: string;
}

/** Digests of the commands that a person has allowed, by slug: the config key `allowedCommands`. */
export type AllowedCommands = Readonly<Record<string, string>>;

/** Seconds that a command may take. */
export const commandSeconds = 120;

/** Most characters of a value: what processes get as environment has limits. */
const longestValue = 65_536;

/** The commands of a site file, in its order. */
export function commandsOf(env: readonly { readonly name: string; readonly cmd?: string }[]): SiteCommand[] {
  return env.flatMap(({ name, cmd }, index) => (cmd === undefined ? [] : [{ key: `env[${index}].cmd`, name, cmd }]));
}

/** What permission is given for: SHA-256 in hex over names and commands in their order. */
export function commandsDigest(commands: readonly SiteCommand[]): string {
  return sha256(JSON.stringify(commands.map(({ name, cmd }) => [name, cmd])));
}

/** Whether a person has allowed these very commands; a site without commands needs no permission. */
export function isAllowed(slug: string, commands: readonly SiteCommand[], allowed: AllowedCommands): boolean {
  return commands.length === 0 || (Object.hasOwn(allowed, slug) && allowed[slug] === commandsDigest(commands));
}

/**
 * Commands for people, two lines or more each. Characters that a terminal would not show, or would obey, are written as `\u{...}`: what is
 * confirmed is what is seen.
 */
export function showCommands(commands: readonly SiteCommand[]): string {
  return commands
    .map(
      ({ key, name, cmd }) =>
        `  ${key}, the value of ${name}:\n${cmd
          .split("\n")
          .map((line) => `      ${visible(line)}`)
          .join("\n")}`,
    )
    .join("\n");
}

/** What a person types to allow a site's commands. */
export function allowCommand(slug: string, stack: string): string {
  return `npx chillbox site allow ${slug}${stack === "local" ? "" : ` --stack ${stack}`}`;
}

/**
 * Refuses sites with commands that nobody has allowed, before any of them runs.
 * @param stack whose configuration `allowed` is
 * @throws UserError with the commands of each such site and how to allow them
 */
export function checkAllowed(sites: readonly SiteFile[], allowed: AllowedCommands, stack: string): void {
  const problems = sites.flatMap(({ slug, path, env }) => {
    const commands = commandsOf(env);
    if (isAllowed(slug, commands, allowed)) return [];
    const reason = Object.hasOwn(allowed, slug) ? "have changed since they were allowed" : "are not allowed yet";
    return [
      `${path}: these commands, which would run on this machine, ${reason}:\n${showCommands(commands)}\nIf they may run: ${allowCommand(slug, stack)}`,
    ];
  });
  if (problems.length > 0) throw new UserError(problems.join("\n"));
}

export interface RunCommandsOptions {
  /** The unpacked release. */
  readonly folder: string;
  readonly log: (line: string) => void;
  /** Seconds that each may take; default: `commandSeconds`. */
  readonly seconds?: number | undefined;
}

/**
 * Runs a site's commands one after the other.
 * @throws UserError for the first that fails: site file, key, command, exit code, last lines
 */
export async function runCommands(site: SiteFile, options: RunCommandsOptions): Promise<CommandValue[]> {
  const values: CommandValue[] = [];
  for (const command of commandsOf(site.env)) {
    values.push({ name: command.name, cmd: command.cmd, value: await runOne(site, command, options) });
  }
  return values;
}

async function runOne(site: SiteFile, command: SiteCommand, options: RunCommandsOptions): Promise<string> {
  const { folder, log, seconds = commandSeconds } = options;
  log(`${site.slug}: ${command.name} is what this prints: ${visible(command.cmd)}`);
  const result = await runCommand(command.cmd, seconds, { folder, log, logsErrorsOnly: true });
  const fail = (problem: string, said = ""): never => {
    throw new UserError(
      `${site.path}: the command of "${command.key}" (of ${command.name}) ${problem}:\n${showCommands([command])}${said && `\nIt said last:\n${said}`}`,
    );
  };
  if (result.tookTooLong) fail(`took more than ${seconds} s and was ended`, result.tail);
  if (result.code !== 0) fail(`failed (exit ${result.code}) in the release's folder`, result.tail);
  const value = result.stdout.replace(/\n+$/, "");
  if (value.length > longestValue) fail(`printed more than the ${longestValue} characters that a value may have`);
  if (value.includes("\0")) fail("printed a zero byte, which no value can have");
  return value;
}

/**
 * A site's variables with the values that the commands gave when the version was built.
 * @throws UserError for a command that this version was not built with
 */
export function fillIn(site: SiteFile, version: string, values: readonly CommandValue[]): NameAndValue[] {
  return site.env.map(({ name, value, cmd }, index) => {
    if (cmd === undefined) return { name, value };
    const found = values.find((each) => each.name === name && each.cmd === cmd);
    if (found) return { name, value: found.value };
    throw new UserError(
      `${site.path}: "env[${index}].cmd" (of ${name}): version ${version} is built already, with other commands. Versions never change: raise the version.`,
    );
  });
}
