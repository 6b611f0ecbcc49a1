import { spawn } from "node:child_process";

/** What a tool answered. */
export interface RunResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Folders of administrators' tools, which are not on everybody's PATH. */
export const toolPath = `${process.env.PATH ?? ""}:/usr/local/sbin:/usr/sbin:/sbin`;

/**
 * Runs one of the laptop's tools to its end and answers whatever its exit code is.
 * @param input text for its stdin, default none.
 * @throws Error when it cannot be started.
 */
export function tryRun(command: string, args: readonly string[], input = ""): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, PATH: toolPath, LC_ALL: "C" },
      stdio: ["pipe", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
    });
    child.on("error", reject);
    child.on("close", (code, signal) =>
      resolve({ code: code ?? 128, stdout, stderr: signal ? `ended by ${signal}` : stderr }),
    );
    child.stdin.on("error", () => {}); // it may end without reading
    child.stdin.end(input);
  });
}

/**
 * Runs one of the laptop's tools and answers its stdout.
 * @throws Error with the command and what it said when its exit code is not 0.
 */
export async function run(command: string, args: readonly string[], input = ""): Promise<string> {
  const result = await tryRun(command, args, input);
  if (result.code !== 0) {
    throw new Error(`${command} ${args.join(" ")} failed (exit code ${result.code}): ${result.stderr.trim()}`);
  }
  return result.stdout;
}
