import { UserError } from "../lib/user-error.ts";
import type { Report } from "./tool.ts";

/** Something that may take long, with the words that a person sees meanwhile. */
export interface Step {
  /** One word, for short messages. */
  readonly name: string;
  readonly title: string;
  readonly action: (report: Report) => Promise<void>;
}

/** Seconds between two lines about what is still at work where there is no terminal. */
const PLAIN_INTERVAL = 10;

/**
 * Runs steps beside each other and shows how far each is: a live list on a terminal, else a line now and then, on standard error.
 * All steps come to their end, also when one fails.
 * @param plain lines even on a terminal, for commands whose standard output is read by a program
 * @throws UserError with the message of each step that failed
 */
export async function runSteps(steps: readonly Step[], plain = false): Promise<void> {
  if (steps.length === 0) return;
  const failures: string[] = [];
  const watched = steps.map((step) => ({
    ...step,
    async action(report: Report) {
      try {
        await step.action(report);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        failures.push(`${step.title}:\n${error.message}`);
        throw error;
      }
    },
  }));
  if (process.stdout.isTTY && !plain) await runLive(watched);
  else await runPlain(watched);
  if (failures.length > 0) throw new UserError(failures.join("\n\n"));
}

async function runLive(steps: readonly Step[]): Promise<void> {
  const { Listr } = await import("listr2");
  const unexpected: unknown[] = [];
  const tasks = steps.map((step) => ({
    title: step.title,
    async task(_: unknown, task: { output: string }) {
      const started = Date.now();
      let latest = "";
      const show = () => {
        task.output = `${seconds(started)} s  ${latest}`;
      };
      const timer = setInterval(show, 1000);
      try {
        await step.action((text) => {
          latest = text.slice(0, 100);
        });
      } catch (error) {
        if (!(error instanceof UserError)) unexpected.push(error);
        throw error;
      } finally {
        clearInterval(timer);
      }
    },
  }));
  await new Listr(tasks, {
    concurrent: true,
    exitOnError: false,
    rendererOptions: { showErrorMessage: false, collapseErrors: false },
  }).run();
  if (unexpected.length > 0) throw unexpected[0];
}

async function runPlain(steps: readonly Step[]): Promise<void> {
  const started = Date.now();
  /** Steps at work, with what each told last. */
  const latest = new Map<string, string>();
  const timer = setInterval(() => {
    const texts = [...latest].map(([name, text]) => (text === "" ? name : `${name}: ${text.slice(0, 60)}`));
    say(`after ${seconds(started)} s still at work: ${texts.join("; ")}`);
  }, PLAIN_INTERVAL * 1000);
  const outcomes = await Promise.allSettled(steps.map((step) => runOnePlain(step, latest)));
  clearInterval(timer);
  for (const outcome of outcomes) {
    if (outcome.status === "rejected" && !(outcome.reason instanceof UserError)) throw outcome.reason;
  }
}

async function runOnePlain(step: Step, latest: Map<string, string>): Promise<void> {
  const started = Date.now();
  let announced = false;
  // What takes less than a second needs no words.
  const announcement = setTimeout(() => {
    announced = true;
    say(`${step.title} ...`);
  }, 1000);
  latest.set(step.name, "");
  try {
    await step.action((text) => latest.set(step.name, text));
    if (announced) say(`${step.name}: done in ${seconds(started)} s`);
  } catch (error) {
    say(`${step.name}: failed after ${seconds(started)} s`);
    throw error;
  } finally {
    clearTimeout(announcement);
    latest.delete(step.name);
  }
}

function seconds(started: number): number {
  return Math.round((Date.now() - started) / 1000);
}

/** One line on standard error. */
export function say(text: string): void {
  process.stderr.write(`chillbox: ${text}\n`);
}
