import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { readIfThere, writeIfChanged } from "./files.ts";
import type { Context, FoundTool, Tool } from "./tool.ts";

/**
 * What set-up found last time, so that it need not ask every program for its version again: `<home>/tools.json`.
 * An entry holds as long as the tool's version, PATH, the cache and the files found are what they were.
 */
export interface Memory {
  readonly [name: string]: { readonly key: string; readonly stamp: string; readonly found: FoundTool };
}

/** Reads the memory; one that is missing or unreadable is empty. */
export async function readMemory(context: Context): Promise<Memory> {
  const text = await readIfThere(fileOf(context));
  if (text === undefined) return {};
  try {
    return JSON.parse(text) as Memory;
  } catch {
    return {};
  }
}

/** The tool as it was found before, if that still holds. */
export async function recall(memory: Memory, tool: Tool, context: Context): Promise<FoundTool | undefined> {
  const entry = memory[tool.name];
  if (entry === undefined || entry.key !== keyOf(tool, context)) return undefined;
  return (await stampOf(entry.found)) === entry.stamp ? entry.found : undefined;
}

/** Keeps what was found. */
export async function remember(tools: ReadonlyMap<Tool, FoundTool>, context: Context, old: Memory): Promise<void> {
  const entries = await Promise.all(
    [...tools]
      .filter(([tool]) => tool.remember)
      .map(async ([tool, found]) => {
        return [tool.name, { key: keyOf(tool, context), stamp: (await stampOf(found)) ?? "", found }] as const;
      }),
  );
  const memory = { ...old, ...Object.fromEntries(entries) };
  await writeIfChanged(fileOf(context), `${JSON.stringify(memory, undefined, 2)}\n`, 0o600);
}

function keyOf(tool: Tool, context: Context): string {
  const facts = JSON.stringify([tool.name, tool.version, tool.what, context.cache, process.env.PATH]);
  return createHash("sha256").update(facts).digest("hex").slice(0, 16);
}

/** Size and time of each file, or `undefined` when one is missing. */
async function stampOf(found: FoundTool): Promise<string | undefined> {
  try {
    const facts = await Promise.all((found.files ?? [found.path]).map((path) => stat(path)));
    return facts.map((fact) => `${fact.size}:${Math.round(fact.mtimeMs)}`).join(" ");
  } catch {
    return undefined;
  }
}

function fileOf(context: Context): string {
  return join(context.settings.home, "tools.json");
}
