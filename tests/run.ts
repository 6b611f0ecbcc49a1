import { delimiter, dirname } from "node:path";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { binFolder, toolFolders } from "../toolchain/environment.ts";
import { setUp } from "../toolchain/setup.ts";
import { allTools, toTest } from "../toolchain/tools/index.ts";
import { folderLayer } from "./layers/folder.ts";
import { type Counts, isGood, type Layer, sum } from "./layers/layer.ts";
import { lint } from "./layers/lint.ts";
import { shell } from "./layers/shell.ts";
import { soak } from "./layers/soak.ts";
import { types } from "./layers/types.ts";

/** Droplets of qemu may be emulated in software. */
const endToEndMinutes = localCloudSettings().dropletDriver === "qemu" ? 600 : 30;

/** All layers, the quick ones first. */
const layers: readonly Layer[] = [
  lint,
  types,
  shell,
  folderLayer({
    name: "unit",
    needs: ["debian-packages", "debian-packages-to-test", "wheels"],
    minutes: 10,
    atOnce: 2,
  }),
  folderLayer({ name: "components", needs: ["wheels"], minutes: 5, atOnce: 2 }),
  folderLayer({ name: "local-cloud", needs: toTest, minutes: 30 }),
  folderLayer({ name: "image", needs: toTest, minutes: 15 }),
  folderLayer({ name: "server-scripts", needs: toTest, minutes: 30 }),
  folderLayer({ name: "security", needs: toTest, minutes: 30 }),
  folderLayer({ name: "end-to-end", needs: toTest, minutes: endToEndMinutes }),
];

/** Layers that run only by their name. */
const longLayers: readonly Layer[] = [soak];

/** Runs layers in their order, all of them whatever fails, and prints how each came out. */
async function main(names: readonly string[]): Promise<void> {
  const chosen = names.length === 0 ? layers : names.map(layerNamed);
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  await prepare(chosen);
  const results: Counts[] = [];
  const lines: string[] = [];
  let good = true;
  for (const layer of chosen) {
    const started = Date.now();
    process.stdout.write(`\nlayer ${layer.name} ...\n`);
    const counts = await runLayer(layer, settings.repository);
    const seconds = Math.round((Date.now() - started) / 1000);
    const { passed, failed, skipped } = counts;
    lines.push(`layer ${layer.name}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${seconds} s`);
    process.stdout.write(`${lines.at(-1)}\n`);
    results.push(counts);
    good &&= isGood(counts);
  }
  const { passed, failed } = sum(results);
  process.stdout.write(`\n${lines.join("\n")}\n`);
  if (!good && failed === 0) process.stdout.write("A layer without a test, or with skipped ones, is a failure.\n");
  process.stdout.write(`${passed} passed, ${failed} failed\n`);
  process.exitCode = good ? 0 : 1;
}

function layerNamed(name: string): Layer {
  const all = [...layers, ...longLayers];
  const layer = all.find((each) => each.name === name);
  if (layer) return layer;
  throw new UserError(`There is no layer "${name}". Layers: ${all.map((each) => each.name).join(", ")}.`);
}

/** Sets up what the chosen layers need, and puts it on PATH; the person's own `pulumi` stack is not on it. */
async function prepare(chosen: readonly Layer[]): Promise<void> {
  const needs = allTools.map((tool) => tool.name).filter((name) => chosen.some((layer) => layer.needs.includes(name)));
  if (needs.length === 0) return;
  const settings = localCloudSettings();
  const tools = await setUp({ needs, settings });
  const folders = [...toolFolders(settings, tools).filter((folder) => folder !== binFolder(settings))];
  for (const name of ["ansible-lint", "versitygw", "pebble"]) {
    const tool = tools[name];
    if (tool) folders.push(dirname(tool.path));
  }
  process.env.PATH = [...folders, process.env.PATH].join(delimiter);
}

/** A layer that could not run, or not to its end, counts one failure more than it told of. */
async function runLayer(layer: Layer, repository: string): Promise<Counts> {
  const signal = AbortSignal.timeout(layer.minutes * 60_000);
  try {
    const counts = await layer.run({ repository, signal });
    if (!signal.aborted) return counts;
    process.stdout.write(`layer ${layer.name} was ended after ${layer.minutes} minutes\n`);
    return { ...counts, failed: counts.failed + 1 };
  } catch (error) {
    process.stdout.write(`layer ${layer.name} could not run: ${error instanceof Error ? error.message : error}\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`chillbox: ${error.message}\n0 passed, 1 failed\n`);
  process.exitCode = 1;
}
