import { type ChildProcess, spawn } from "node:child_process";
import type { Call } from "../plugin/plugin.ts";
import type { Properties } from "../plugin/wire.ts";
import { archiveOf, assetsOf } from "./assets.ts";
import { collectOutput, commandError, previousOutputs } from "./output.ts";

const killAfterMilliseconds = 10_000;
const running = new Set<ChildProcess>();

/**
 * Runs a command on this machine: by `/bin/sh -c` unless `interpreter` says otherwise, in `dir` or the plugin's own folder.
 * @returns stdout and stderr without one trailing newline, and `assets` and `archive` if their paths were asked for.
 * @throws when the command cannot start, ends with another status than 0, or is stopped.
 */
export async function runLocally(
  command: string,
  inputs: Properties,
  previous: Properties,
  call: Call,
): Promise<Properties> {
  const interpreter = inputs.interpreter as string[] | undefined;
  const [program = "/bin/sh", ...first] = interpreter?.length ? interpreter : ["/bin/sh", "-c"];
  const dir = (inputs.dir as string | undefined) ?? process.cwd();
  const environment = inputs.environment as Record<string, string> | undefined;
  const output = collectOutput(inputs.logging, call);
  const child = spawn(program, [...first, command], {
    cwd: dir,
    env: { ...process.env, ...environment, ...previousOutputs(inputs, previous) },
    stdio: ["pipe", "pipe", "pipe"],
    // A process group of its own, so that a stop reaches what the shell started as well.
    detached: true,
  });
  child.stdout.on("data", output.stdout);
  child.stderr.on("data", output.stderr);
  // A command that does not read its input is no error.
  child.stdin.on("error", () => undefined);
  child.stdin.end((inputs.stdin as string | undefined) ?? "");
  const cause = await ended(child, call.signal);
  output.finish();
  if (cause !== undefined) {
    throw commandError(cause, command, output);
  }
  return { ...output.streams, ...assetsOf(dir, inputs), ...archiveOf(dir, inputs) };
}

/** Waits for a child to end; the cause when it was not by status 0. */
async function ended(child: ChildProcess, signal: AbortSignal): Promise<string | undefined> {
  running.add(child);
  let timer: NodeJS.Timeout | undefined;
  const stop = (): void => {
    signalGroup(child, "SIGTERM");
    timer = setTimeout(() => signalGroup(child, "SIGKILL"), killAfterMilliseconds);
  };
  signal.addEventListener("abort", stop);
  try {
    return await new Promise((resolve) => {
      child.on("error", (error) => resolve(error.message));
      child.on("close", (code, name) => {
        resolve(name !== null ? `signal: ${name}` : code === 0 ? undefined : `exit status ${code}`);
      });
    });
  } finally {
    running.delete(child);
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) {
    return;
  }
  try {
    process.kill(-child.pid, signal);
  } catch {
    // it has ended meanwhile
  }
}

// When the engine is gone or stops the plugin, its commands must not go on unseen beside those of the next run.
for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
  process.once(name, () => {
    for (const child of running) {
      signalGroup(child, "SIGTERM");
    }
    process.exit(1);
  });
}
