import { execa } from "execa";
import { UserError } from "../lib/user-error.ts";
import type { Report } from "./tool.ts";

/** How a command of set-up is run. */
export interface RunOptions {
  readonly cwd?: string;
  /** Added to the environment of this process; `undefined` removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Gets each line of output. */
  readonly report?: Report;
  /** Default 30 minutes. */
  readonly timeoutMinutes?: number;
  /** What the person can do when it fails. */
  readonly wayOut: string;
}

const LINES_KEPT = 20;

/**
 * Runs a command and returns its standard output without the last newline.
 * @throws UserError that names the command, its last lines of output and the way out.
 */
export async function run(command: string, args: readonly string[], options: RunOptions): Promise<string> {
  const child = execa(command, args, {
    ...(options.cwd ? { cwd: options.cwd } : {}),
    env: { ...options.env },
    timeout: (options.timeoutMinutes ?? 30) * 60_000,
    stdin: "ignore",
    all: true,
    reject: false,
    maxBuffer: 1 << 20,
  });
  const last: string[] = [];
  for await (const line of child.iterable({ from: "all" })) {
    if (last.push(line) > LINES_KEPT) last.shift();
    if (line.trim()) options.report?.(line.trim());
  }
  const result = await child;
  if (!result.failed) return result.stdout ?? "";
  const cause = result.code === "ENOENT" ? `there is no command \`${command}\`` : endOf(result, options);
  throw new UserError(
    [`\`${[command, ...args].join(" ")}\` failed: ${cause}`, ...last.map((line) => `  ${line}`), options.wayOut].join(
      "\n",
    ),
  );
}

function endOf(
  result: { timedOut: boolean; exitCode?: number; signal?: string; shortMessage?: string },
  options: RunOptions,
) {
  if (result.timedOut) return `it took longer than ${options.timeoutMinutes ?? 30} minutes`;
  if (result.exitCode !== undefined) return `exit code ${result.exitCode}`;
  return result.signal ? `ended by ${result.signal}` : (result.shortMessage ?? "unknown reason");
}
