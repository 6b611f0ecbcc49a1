import { type ChildProcessByStdio, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable } from "node:stream";
import { childEnvironment } from "./child-environment.ts";

/** How a program of a site's ended. */
export interface ProcessResult {
  /** Exit code; 127 when there is no such program, 128 and the number of the signal that ended it. */
  readonly code: number;
  /** As the program wrote it, cut off after a million characters. */
  readonly stdout: string;
  /** Last lines of all output, for errors. */
  readonly tail: string;
  /** Whether it was ended because it took too long. */
  readonly tookTooLong: boolean;
}

export interface ProcessOptions {
  readonly folder: string;
  /** Told each line of the output while the program runs. */
  readonly log?: (line: string) => void;
  /** Leave standard output, which is a result, out of the log. */
  readonly logsErrorsOnly?: boolean;
}

type Child = ChildProcessByStdio<null, Readable, Readable>;

const mostOutput = 1_000_000;
const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/**
 * Runs a program of a site's on the laptop, with nothing in its environment but an allow-list: the program's own environment has secrets.
 * @param words the program and its arguments
 */
export function runProcess(words: readonly string[], options: ProcessOptions): Promise<ProcessResult> {
  return follow(start(words, options.folder), options);
}

/**
 * Runs a shell command in the same way, with a time limit. Nothing of it goes on running behind it: not what it started, and not it
 * itself when chillbox is ended.
 * @param seconds how long it may take
 */
export async function runCommand(command: string, seconds: number, options: ProcessOptions): Promise<ProcessResult> {
  const started = performance.now();
  // `timeout` makes a process group of its own, which is what can be ended as a whole. It keeps the limit also when chillbox was killed.
  const child = start(["timeout", "--kill-after=2", String(seconds), "sh", "-c", command], options.folder);
  const passOn = (signal: NodeJS.Signals): void => {
    // Not the signal itself: a shell's jobs in the background take no notice of ^C.
    child.kill("SIGKILL");
    endGroup(child.pid);
    letGo();
    process.kill(process.pid, signal);
  };
  const letGo = (): void => {
    for (const signal of signals) process.off(signal, passOn);
  };
  for (const signal of signals) process.on(signal, passOn);
  child.on("exit", () => endGroup(child.pid));
  try {
    const result = await follow(child, options);
    const isLate = performance.now() - started >= seconds * 1000;
    return { ...result, tookTooLong: isLate && [124, 137].includes(result.code) };
  } finally {
    letGo();
  }
}

function start([program = "", ...args]: readonly string[], folder: string): Child {
  // Make tells of folders that it enters on standard output; what is asked for is the result alone.
  const env = { ...childEnvironment(), MAKEFLAGS: "--no-print-directory" };
  return spawn(program, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
}

/** What a command left in the background would keep its output open. */
function endGroup(leader: number | undefined): void {
  try {
    if (leader !== undefined) process.kill(-leader, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function follow(child: Child, { log = () => {}, logsErrorsOnly }: ProcessOptions): Promise<ProcessResult> {
  let stdout = "";
  let all = "";
  const take = (stream: Readable, into: (text: string) => void, show: (line: string) => void): void => {
    const lines = lineByLine(show);
    stream.setEncoding("utf8").on("data", (text: string) => {
      all = (all + text).slice(-8000);
      into(text);
      lines.add(text);
    });
    stream.on("end", lines.end);
  };
  const show = (line: string): void => log(`  ${line}`);
  const keep = (text: string): void => {
    if (stdout.length < mostOutput) stdout += text;
  };
  take(child.stdout, keep, logsErrorsOnly ? () => {} : show);
  take(child.stderr, () => {}, show);
  const code = await new Promise<number>((done) => {
    child.on("error", () => done(127));
    child.on("close", (exit, signal) => done(exit ?? 128 + constants.signals[signal ?? "SIGKILL"]));
  });
  return { code, stdout, tail: all.trimEnd().split("\n").slice(-20).join("\n"), tookTooLong: false };
}

/** Gives whole lines on, however they come in; empty ones are left out. */
function lineByLine(show: (line: string) => void): { add: (text: string) => void; end: () => void } {
  let rest = "";
  const give = (lines: readonly string[]): void => {
    for (const line of lines) if (line !== "") show(line);
  };
  return {
    add(text) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      give(lines);
    },
    end: () => give([rest]),
  };
}
