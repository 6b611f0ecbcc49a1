import { readFileSync } from "node:fs";
import { lstat, mkdir, readFile, realpath, rm, symlink } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { commandsNamed, isProgram } from "../commands.ts";
import { pulumiHome } from "../environment.ts";
import { exists } from "../files.ts";
import { run } from "../run.ts";
import { installStandIns, isCurrentLauncher } from "../stand-ins/install.ts";
import type { Context, FoundTool, Tool } from "../tool.ts";

/** The stand-ins by the names that `stand-ins/install.ts` knows. */
type StandIn = "language" | "command" | "digitalocean";

/** One of Pulumi's programs that are published only as downloads. */
interface Plugin {
  readonly standIn: StandIn;
  /** Name of the program. */
  readonly name: string;
  readonly version: string;
  readonly what: string;
  /** Its folder under PULUMI_HOME. */
  readonly folder: string;
  /** The official program, if this machine has it in the right version. */
  readonly official: (context: Context) => Promise<string | undefined>;
}

const versions = readVersions();
const engineVersion = versions["@pulumi/pulumi"] ?? "";

const all: readonly Plugin[] = [
  {
    standIn: "language",
    name: "pulumi-language-nodejs",
    version: engineVersion,
    what: "starts Node programs for Pulumi",
    folder: `plugins/language-nodejs-v${engineVersion}`,
    official: officialLanguageHost,
  },
  resourcePlugin("command", "runs commands here and over ssh"),
  resourcePlugin("digitalocean", "makes DigitalOcean's resources"),
];

/** Pulumi's language host and provider plugins: official ones that the machine has, else the stand-ins. */
export const plugins: readonly Tool[] = all.map(tool);

function resourcePlugin(name: "command" | "digitalocean", what: string): Plugin {
  const version = versions[`@pulumi/${name}`] ?? "";
  const folder = `plugins/resource-${name}-v${version}`;
  const program = `pulumi-resource-${name}`;
  const official = (context: Context) => officialPlugin(join(folder, program), context);
  return { standIn: name, name: program, version, what, folder, official };
}

function tool(plugin: Plugin): Tool {
  return {
    name: plugin.name,
    version: plugin.version,
    what: plugin.what,
    find: (context) => find(plugin, context),
    make,
  };
}

async function find(plugin: Plugin, context: Context): Promise<FoundTool | undefined> {
  const path = join(placeOf(plugin, context), plugin.name);
  if (!(await isProgram(path))) return undefined;
  const official = await plugin.official(context);
  const isLink = (await lstat(placeOf(plugin, context))).isSymbolicLink();
  if (official) {
    // When it came after the stand-in, that makes room.
    const isOfficial = isLink && (await realpath(path)) === (await realpath(official));
    return isOfficial ? { path, version: plugin.version, source: "path" } : undefined;
  }
  // A stand-in names the Node that runs it: it is written again when this is another.
  const isCurrent = !isLink && isCurrentLauncher(await readFile(path, "utf8"), process.execPath);
  return isCurrent ? { path, version: plugin.version, source: "stand-in" } : undefined;
}

/** Puts all three in place: a link to each official one, stand-ins for the others. Doing so again changes nothing. */
async function make(context: Context): Promise<void> {
  const which = { language: false, command: false, digitalocean: false };
  for (const plugin of all) {
    const official = await plugin.official(context);
    which[plugin.standIn] = official === undefined;
    await removeLink(placeOf(plugin, context));
    if (official) await link(placeOf(plugin, context), dirname(official));
  }
  installStandIns(pulumiHome(context.settings), process.execPath, which);
}

function placeOf(plugin: Plugin, context: Context): string {
  return join(pulumiHome(context.settings), plugin.folder);
}

async function link(place: string, folder: string): Promise<void> {
  await rm(place, { recursive: true, force: true });
  await mkdir(dirname(place), { recursive: true });
  await symlink(folder, place);
}

/** A stand-in must not be written through a link into the person's own Pulumi. */
async function removeLink(path: string): Promise<void> {
  const facts = await lstat(path).catch(() => undefined);
  if (facts?.isSymbolicLink()) await rm(path);
}

/** The official host comes with Pulumi: it is beside a `pulumi` of its version. */
async function officialLanguageHost(): Promise<string | undefined> {
  for await (const path of commandsNamed("pulumi-language-nodejs")) {
    const pulumi = join(dirname(await realpath(path)), "pulumi");
    if (!(await isProgram(pulumi))) continue;
    const version = await run(pulumi, ["version"], { timeoutMinutes: 0.1, wayOut: "" }).catch(() => "");
    if (version.trim() === `v${engineVersion}`) return await realpath(path);
  }
  return undefined;
}

async function officialPlugin(path: string, context: Context): Promise<string | undefined> {
  const homes = [process.env.PULUMI_HOME, join(homedir(), ".pulumi")];
  for (const home of homes) {
    if (!home || home === pulumiHome(context.settings)) continue;
    const program = join(home, path);
    if (await exists(program)) return program;
  }
  return undefined;
}

/** A plugin's version is that of its npm package: the program asks for exactly that. */
function readVersions(): Record<string, string | undefined> {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { dependencies: Record<string, string> }).dependencies;
}
