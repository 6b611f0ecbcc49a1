import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { UserError } from "../lib/user-error.ts";

interface RunOptions {
  /** Gets each line of stdout while the program runs. */
  readonly report?: (line: string) => void;
  /** Added to PATH, HOME and the proxy settings, the only variables that a program gets from here. */
  readonly environment?: Readonly<Record<string, string>>;
}

const inherited = ["PATH", "HOME", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];
const pip = (name: string): boolean => name.startsWith("PIP_");

/**
 * Runs a program and answers its stdout.
 * @throws UserError naming the command with the end of its output when it is missing or fails.
 */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env: environmentOf(options.environment) });
    const output: string[] = [];
    const all: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => {
      output.push(line);
      all.push(line);
      options.report?.(line);
    });
    createInterface({ input: child.stderr }).on("line", (line) => all.push(line));
    child.on("error", (error: NodeJS.ErrnoException) => {
      const missing = error.code === "ENOENT";
      reject(missing ? new UserError(`The program ${command} is missing: install its Debian package.`) : error);
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolve(output.join("\n"));
      else reject(new UserError(failure([command, ...args].join(" "), code ?? signal, all)));
    });
  });
}

function failure(command: string, code: number | string | null, output: readonly string[]): string {
  return `${command} failed (${code}):\n${output.slice(-15).join("\n")}`;
}

function environmentOf(added: RunOptions["environment"]): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter((name) => inherited.includes(name) || pip(name));
  return { ...Object.fromEntries(names.map((name) => [name, process.env[name]])), LC_ALL: "C.UTF-8", ...added };
}

/**
 * Runs `action` while this process alone holds the lock on `path`. The kernel frees it when the process ends, however it ends.
 * @throws UserError when the lock cannot be taken at all (`flock` missing, folder not writable).
 */
export async function withLock<Result>(path: string, action: () => Promise<Result>): Promise<Result> {
  const holder = spawn("flock", [path, "sh", "-c", "echo locked; cat"], { stdio: ["pipe", "pipe", "inherit"] });
  try {
    await new Promise<void>((resolve, reject) => {
      holder.stdout.once("data", () => resolve());
      holder.once("error", () =>
        reject(new UserError("The program flock is missing: install Debian's package util-linux.")),
      );
      holder.once("close", (code) => reject(new UserError(`${path} cannot be locked (flock ended with ${code}).`)));
    });
    return await action();
  } finally {
    holder.stdin.end();
  }
}
