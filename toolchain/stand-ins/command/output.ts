import type { Call } from "../plugin/plugin.ts";

/** Collects what a command writes and shows it line by line while it runs. */
export interface Output {
  stdout(chunk: Buffer): void;
  stderr(chunk: Buffer): void;
  /** Shows a last line that has no newline. */
  finish(): void;
  /** Both streams, as they came. */
  readonly all: string;
  /** Each stream without one trailing newline. */
  readonly streams: { readonly stdout: string; readonly stderr: string };
}

/** @param logging which streams are shown: `stdout`, `stderr`, `none`, or both (`stdoutAndStderr`, the default). */
export function collectOutput(logging: unknown, call: Call): Output {
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[], all: [] as Buffer[] };
  const lines = { stdout: lineSplitter(call.log), stderr: lineSplitter(call.log) };
  const shown = logging ?? "stdoutAndStderr";
  const collect = (stream: "stdout" | "stderr") => (chunk: Buffer) => {
    chunks[stream].push(chunk);
    chunks.all.push(chunk);
    if (shown === "stdoutAndStderr" || shown === stream) {
      lines[stream].add(chunk.toString());
    }
  };
  return {
    stdout: collect("stdout"),
    stderr: collect("stderr"),
    finish() {
      lines.stdout.flush();
      lines.stderr.flush();
    },
    get all() {
      return Buffer.concat(chunks.all).toString();
    },
    get streams() {
      return { stdout: text(chunks.stdout), stderr: text(chunks.stderr) };
    },
  };
}

function text(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString().replace(/\n$/, "");
}

function lineSplitter(show: (line: string) => void): { add(chunk: string): void; flush(): void } {
  let rest = "";
  return {
    add(chunk) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      lines.forEach(show);
    },
    flush() {
      if (rest !== "") {
        show(rest);
      }
      rest = "";
    },
  };
}

/**
 * The variables that carry the last outputs to the next command, unless `addPreviousOutputInEnv` is false.
 */
export function previousOutputs(
  inputs: Readonly<Record<string, unknown>>,
  previous: Readonly<Record<string, unknown>>,
): Record<string, string> {
  if (inputs.addPreviousOutputInEnv === false) {
    return {};
  }
  const variables = { PULUMI_COMMAND_STDOUT: previous.stdout, PULUMI_COMMAND_STDERR: previous.stderr };
  return Object.fromEntries(
    Object.entries(variables).filter(
      (entry): entry is [string, string] => typeof entry[1] === "string" && entry[1] !== "",
    ),
  );
}

/** The error of a command that failed, in the official plugin's words: the cause, the command and all it wrote. */
export function commandError(cause: string, command: string, output: Output): Error {
  return new Error(`${cause}: running ${JSON.stringify(command)}:\n${output.all}`);
}
