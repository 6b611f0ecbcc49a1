import type { SiteProblem } from "./site-problems.ts";
import { substitute, type Variables } from "./template.ts";
import { UserError } from "./user-error.ts";

interface Field {
  readonly name: string;
  readonly lowest: number;
  readonly highest: number;
  /** Words that stand for the numbers from the lowest on. */
  readonly words: readonly string[];
}

/** `server-scripts/manifest/crontab.py` takes the same lines; `tests/unit/lib/crontab-lines.json` has what both must say. */
const fields: readonly Field[] = [
  { name: "minute", lowest: 0, highest: 59, words: [] },
  { name: "hour", lowest: 0, highest: 23, words: [] },
  { name: "day of the month", lowest: 1, highest: 31, words: [] },
  { name: "month", lowest: 1, highest: 12, words: "jan feb mar apr may jun jul aug sep oct nov dec".split(" ") },
  // Sunday is 0 and 7.
  { name: "day of the week", lowest: 0, highest: 7, words: "sun mon tue wed thu fri sat".split(" ") },
];
const nicknames = new Map([
  ["@yearly", "0 0 1 1 *"],
  ["@annually", "0 0 1 1 *"],
  ["@monthly", "0 0 1 * *"],
  ["@weekly", "0 0 * * 0"],
  ["@daily", "0 0 * * *"],
  ["@midnight", "0 0 * * *"],
  ["@hourly", "0 * * * *"],
]);
const monthDays = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const part = /^(?:\*|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:\/([0-9]{1,2}))?$/;
const maxLines = 200;
const maxLength = 4096;

/** What is wrong with crontab lines as they stand in a site file: variables may still be in them. */
export function crontabProblems(lines: readonly string[]): SiteProblem[] {
  if (lines.length > maxLines) {
    const what = `has more than ${maxLines} lines`;
    return [{ severity: "error", path: ["crontab"], atKey: true, what, fix: "Let one script do several of them." }];
  }
  return lines.flatMap((line, index): SiteProblem[] => {
    // What a variable makes of it shows when the site is rendered.
    const [when = ""] = /^[ \t]*(@[^ \t]*|([^ \t]+[ \t]+){0,4}[^ \t]*)/.exec(line) ?? [];
    const wrong = when.includes("$") ? undefined : wrongWith(line);
    return wrong ? [{ severity: "error", path: ["crontab", index], atKey: false, ...wrong }] : [];
  });
}

/**
 * A site's crontab for the server: known variables are replaced, all others are left to the shell.
 * @param file names the site file in errors
 * @throws UserError with every line that is wrong once its variables are replaced
 */
export function renderCrontab(lines: readonly string[], variables: Variables, file: string): string[] {
  const rendered = lines.map((line) => substitute(line, variables));
  const problems = rendered.flatMap((line, index) => {
    const wrong = wrongWith(line);
    return wrong ? [`${file}: "crontab[${index}]" ${wrong.what}. ${wrong.fix}`] : [];
  });
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return rendered;
}

type Wrong = Pick<SiteProblem, "what" | "fix">;

/** What keeps a line from being run, if anything does. */
function wrongWith(line: string): Wrong | undefined {
  if (line.length > maxLength) return wrong(`has more than ${maxLength} characters`, "Put them into a script.");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]/u.test(line))
    return wrong("has a control character in it", "Write one line.");
  const trimmed = line.replace(/^[ \t]+|[ \t]+$/g, "");
  // Nothing to run, as in any crontab.
  if (trimmed === "" || trimmed.startsWith("#")) return undefined;
  const [first = ""] = trimmed.split(/[ \t]/, 1);
  const nickname = nicknames.get(first);
  if (first.startsWith("@") && nickname === undefined) {
    const fix = `Write one of ${[...nicknames.keys()].join(", ")}${first === "@reboot" ? "; what runs all the time is a worker" : ""}.`;
    return wrong(`begins with "${first}"`, fix);
  }
  const words = (nickname === undefined ? trimmed : nickname + trimmed.slice(first.length)).split(/[ \t]+/);
  if (/^[A-Za-z_][A-Za-z0-9_]*=/.test(first))
    return wrong("sets a variable", 'Put it into "env", which cron gets, too.');
  if (words.length < 6) {
    const shown = JSON.stringify(line.slice(0, 80));
    return wrong(`is ${shown}, which has not five fields and a command`, 'Write it like "*/5 * * * * COMMAND".');
  }
  return wrongFields(words);
}

function wrongFields(words: readonly string[]): Wrong | undefined {
  const sets: number[][] = [];
  for (const [index, field] of fields.entries()) {
    const numbers = numbersOf(words[index] ?? "", field);
    if (!Array.isArray(numbers)) return numbers;
    sets.push(numbers);
  }
  const [, , days = [], months = []] = sets;
  const either = !words[2]?.startsWith("*") && !words[4]?.startsWith("*");
  const day = Math.min(...days);
  if (either || months.some((month) => day <= (monthDays[month - 1] ?? 0))) return undefined;
  return wrong(`never runs: no month of it has a day ${day}`, "Give it another day.");
}

/** The numbers that a field stands for, or what is wrong with it. */
function numbersOf(text: string, field: Field): number[] | Wrong {
  const { name, lowest, highest, words } = field;
  const shown = `has ${JSON.stringify(text.slice(0, 80))} for the ${name}`;
  const numbers = new Set<number>();
  for (const each of text.toLowerCase().split(",")) {
    const match = part.exec(each);
    if (!match) return wrong(shown, "Write it like *, 5, 1-5, */10, or several with commas.");
    const [, first, last, step] = match;
    const low = first === undefined ? lowest : numberOf(first, field);
    // A single number with a step begins there and goes on to the end.
    const alone = first !== undefined && step === undefined ? low : highest;
    const high = last === undefined ? alone : numberOf(last, field);
    if (low === undefined || high === undefined) {
      const example = words[0] === undefined ? "" : ` or names such as ${words[0]}`;
      return wrong(shown, `Write numbers from ${lowest} to ${highest}${example}.`);
    }
    if (high < low || Number(step) === 0) return wrong(shown, `Nothing fits "${each}": mend it.`);
    for (let number = low; number <= high; number += Number(step ?? 1)) numbers.add(number);
  }
  return [...numbers];
}

function numberOf(text: string, { lowest, highest, words }: Field): number | undefined {
  if (words.includes(text)) return words.indexOf(text) + lowest;
  const number = Number(text);
  return number >= lowest && number <= highest ? number : undefined;
}

function wrong(what: string, fix: string): Wrong {
  return { what, fix };
}
