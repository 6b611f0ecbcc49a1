import { cacheFolder } from "../lib/cache-folder.ts";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { type Memory, readMemory, recall, remember } from "./memory.ts";
import { runSteps } from "./progress.ts";
import type { Context, FoundTool, Report, Tool, Tools } from "./tool.ts";
import { allTools } from "./tools/index.ts";
import { makePassphrase, writeWrapper } from "./wrapper.ts";

/** How set-up is run. */
export interface SetUpOptions {
  /** Names of tools; see `toRun` and `toTest` of `tools/index.ts`. */
  readonly needs: readonly string[];
  /** Install Debian packages without asking; also when the environment says `CI=true`. */
  readonly yes?: boolean;
  /** Plain lines of progress on standard error even on a terminal. */
  readonly plain?: boolean;
  /** Default: this copy's, from the environment. */
  readonly settings?: LocalCloudSettings;
}

/**
 * Makes sure that the tools are there, and says where. Does nothing that was done before: a second call takes a fraction of a second.
 * Also makes `<home>/bin/pulumi` and the passphrase of stack `local`.
 * @throws UserError that names each step that failed, its command, the cause and the way out.
 */
export async function setUp(options: SetUpOptions): Promise<Tools> {
  const context = contextOf(options);
  const wanted = selectTools(options.needs);
  const memory = await readMemory(context);
  const found = await findTools(wanted, context, memory);
  await makeMissing(wanted, found, context, options.plain ?? false);
  await remember(found, context, memory);
  const tools = byName(found);
  await Promise.all([writeWrapper(context.settings, tools), makePassphrase(context.settings)]);
  return tools;
}

/** Looks for the tools without making, writing or asking anything: what is missing is left out. */
export async function lookForTools(options: SetUpOptions): Promise<Tools> {
  const context = contextOf(options);
  return byName(await findTools(selectTools(options.needs), context, await readMemory(context)));
}

function contextOf(options: SetUpOptions): Context {
  const settings = options.settings ?? localCloudSettings();
  return { settings, cache: cacheFolder(), yes: options.yes === true || process.env.CI === "true" };
}

function selectTools(names: readonly string[]): Tool[] {
  return names.map((name) => {
    const tool = allTools.find((each) => each.name === name);
    if (!tool) throw new Error(`No tool is called ${name}.`);
    return tool;
  });
}

async function findTools(wanted: readonly Tool[], context: Context, memory: Memory): Promise<Map<Tool, FoundTool>> {
  const answers = await Promise.all(
    wanted.map(async (tool) => (await recall(memory, tool, context)) ?? (await tool.find(context))),
  );
  const found = new Map<Tool, FoundTool>();
  wanted.forEach((tool, index) => {
    const answer = answers[index];
    if (answer) found.set(tool, answer);
  });
  return found;
}

async function makeMissing(wanted: readonly Tool[], found: Map<Tool, FoundTool>, context: Context, plain: boolean) {
  const missing = wanted.filter((tool) => !found.has(tool));
  for (const tool of missing) await tool.confirm?.(context);
  const step = (tool: Tool) => ({
    name: tool.name,
    title: `${tool.name} ${tool.version} (${tool.what})`,
    action: (report: Report) => makeOne(tool, found, context, report),
  });
  for (const tool of missing.filter((each) => each.first)) await runSteps([step(tool)], plain);
  await runSteps(missing.filter((each) => !each.first).map(step), plain);
}

async function makeOne(tool: Tool, found: Map<Tool, FoundTool>, context: Context, report: Report) {
  // Packages of the distribution, which come first, may have brought it.
  const before = await tool.find(context);
  if (!before) await tool.make(context, report);
  const answer = before ?? (await tool.find(context));
  if (!answer) throw new UserError(`${tool.name} ${tool.version} was made and cannot be found all the same.`);
  found.set(tool, answer);
}

function byName(found: ReadonlyMap<Tool, FoundTool>): Tools {
  return Object.fromEntries([...found].map(([tool, answer]) => [tool.name, answer]));
}
