import { text } from "node:stream/consumers";
import { UserError } from "../lib/user-error.ts";

/**
 * Runs one local command: its input is a JSON object on stdin, its output one on stdout, so that no secret is ever in an
 * argument or an environment. Progress and errors go to stderr; an error is one message and exit code 1.
 */
export async function runCommand<Input, Output extends object>(
  action: (input: Input) => Promise<Output>,
): Promise<void> {
  try {
    const output = await action(JSON.parse(await text(process.stdin)) as Input);
    process.stdout.write(`${JSON.stringify(output)}\n`);
  } catch (error) {
    // No stack for anybody's mistake, and never the input: it may hold secrets.
    const message = error instanceof Error ? error.message : String(error);
    process.stderr.write(`${error instanceof UserError ? message : `Internal error: ${message}`}\n`);
    process.exitCode = 1;
  }
}
