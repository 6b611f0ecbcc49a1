/**
 * Measures chillbox on this machine and prints tables for `docs/performance.md`:
 *
 *   npm run bench                    the quick groups, one after the other
 *   npm run bench -- switch          one group alone
 *   npm run bench -- switch 1000     with another count than the default
 *   npm run bench -- --help          the groups there are
 *
 * Everything happens in copies of the project and servers of its own, and goes away at the end, also after ^C. Whatever else the machine
 * does meanwhile is in the figures: look at the ratios.
 */
import type { Group } from "./group.ts";
import { coldGroup } from "./groups/cold.ts";
import { deployGroup } from "./groups/deploy.ts";
import { fitGroup } from "./groups/fit.ts";
import { sitesGroup } from "./groups/sites.ts";
import { switchGroup } from "./groups/switch.ts";
import { upGroup } from "./groups/up.ts";
import { type Figure, show, table } from "./measure.ts";

const groups: readonly Group[] = [upGroup, switchGroup, deployGroup, sitesGroup, fitGroup, coldGroup];
/** What is to be undone when the program ends now, last first. */
const undone: (() => unknown)[] = [];

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => void giveUp(`ended by ${signal}`));
}
const chosen = choose(process.argv.slice(2));
for (const { group, count } of chosen) await runGroup(group, count);

/** Groups by their names; a number belongs to the name before it. */
function choose(words: readonly string[]): { group: Group; count: number | undefined }[] {
  if (words.length === 0) return groups.filter(({ quick }) => quick).map((group) => ({ group, count: undefined }));
  const found: { group: Group; count: number | undefined }[] = [];
  for (const word of words) {
    const group = groups.find(({ name }) => name === word);
    const last = found.at(-1);
    if (group) found.push({ group, count: undefined });
    else if (last && /^[1-9]\d{0,5}$/.test(word)) last.count = Number(word);
    else help(word === "--help" ? 0 : 2);
  }
  return found;
}

function help(code: number): never {
  const lines = groups.map(
    ({ name, what, minutes, quick }) =>
      `  ${name.padEnd(8)} ${what}; ${minutes} min${quick ? "" : ", not without its name"}`,
  );
  const text = ["npm run bench [-- NAME [COUNT] ...]", "", ...lines, ""].join("\n");
  (code === 0 ? process.stdout : process.stderr).write(text);
  process.exit(code);
}

async function runGroup(group: Group, count: number | undefined): Promise<void> {
  const figures: Figure[] = [];
  const remarks: string[] = [];
  const minutes = group.limitMinutes(count);
  const limit = setTimeout(() => void giveUp(`${group.name} takes longer than ${minutes} minutes`), minutes * 60_000);
  try {
    await group.run({
      count,
      note: (figure) => {
        figures.push(figure);
        console.log(`${figure.name}: ${figure.values.map((value) => show(value, figure)).join(", ")}`);
      },
      remark: (text) => {
        remarks.push(text);
        console.log(text);
      },
      atEnd: (undo) => void undone.push(undo),
    });
  } finally {
    clearTimeout(limit);
    await undoAll();
  }
  console.log(`\n## ${group.name}\n\n${table(figures)}\n${remarks.map((remark) => `\n- ${remark}`).join("")}\n`);
}

async function undoAll(): Promise<void> {
  for (let undo = undone.pop(); undo; undo = undone.pop()) {
    try {
      await undo();
    } catch (error) {
      console.error(error);
    }
  }
}

async function giveUp(why: string): Promise<never> {
  console.error(`bench: ${why}`);
  await undoAll();
  process.exit(1);
}
