import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { ProjectCopy } from "../end-to-end/project-copy.ts";

/**
 * Runs `npx chillbox WORDS` in a copy and kills it, with everything that it started on the laptop, soon after it has printed a text: the
 * step that prints it is under way then.
 * @param milliseconds how far into the step
 * @throws when it ended without printing that
 */
export async function killAt(
  copy: ProjectCopy,
  words: readonly string[],
  text: string,
  milliseconds = 300,
): Promise<void> {
  await killWhen(copy, words, (said) => said.includes(text), { milliseconds });
}

/**
 * The same, soon after something is true.
 * @param isTime asked again and again, with what the command has said so far
 * @param options.milliseconds after that; default 0
 * @param options.input its standard input
 * @throws when the command ended before
 */
export async function killWhen(
  copy: ProjectCopy,
  words: readonly string[],
  isTime: (said: string) => boolean,
  { milliseconds = 0, input = "" }: { milliseconds?: number; input?: string | Buffer } = {},
): Promise<void> {
  const child = spawn(process.execPath, ["cli/chillbox.mjs", ...words], {
    cwd: copy.folder,
    env: copy.environment,
    detached: true,
  });
  const ended = once(child, "exit");
  child.stdin.on("error", () => {});
  child.stdin.end(input);
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (part: string) => {
      said += part;
    });
  }
  while (!isTime(said)) {
    if (child.exitCode !== null)
      throw new Error(`\`chillbox ${words.join(" ")}\` ended before it was killed:\n${said}`);
    await sleep(2);
  }
  await sleep(milliseconds);
  const pids = withDescendants(child.pid ?? 0);
  // Stopped first: a process that sees another one end could still do something about it.
  for (const signal of ["SIGSTOP", "SIGKILL"] as const) for (const pid of pids) signalIfThere(pid, signal);
  await ended;
}

/** A process and all that it started, in whatever group or session: plugins of Pulumi have groups of their own. */
function withDescendants(pid: number): number[] {
  const parents = new Map(
    readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map((name) => [Number(name), parentOf(name)] as const),
  );
  const found = [pid];
  for (const one of found) {
    found.push(...[...parents].filter(([, parent]) => parent === one).map(([child]) => child));
  }
  return found;
}

/** The name of a process, between brackets, may have blanks in it. */
function parentOf(pid: string): number {
  try {
    return Number(
      readFileSync(`/proc/${pid}/stat`, "latin1")
        .replace(/^.*\) /s, "")
        .split(" ")[1],
    );
  } catch {
    return 0;
  }
}

function signalIfThere(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {}
}
