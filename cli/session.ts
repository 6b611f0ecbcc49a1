import { once } from "node:events";
import { openServer } from "./connection.ts";

/**
 * A shell on the server, or one command, with this terminal's input and output.
 * @param options.words the command, joined by blanks as ssh does; none: a shell
 * @param options.tty a terminal for the command, too
 * @returns its exit code
 */
export async function session(options: { stack?: string; words: readonly string[]; tty: boolean }): Promise<number> {
  const server = await openServer(options.stack);
  try {
    const command = options.words.length === 0 ? undefined : options.words.join(" ");
    const terminal = options.tty || (command === undefined && process.stdin.isTTY === true);
    const [code] = await once(server.attach(command, { terminal }), "close");
    return code ?? 255;
  } finally {
    server.end();
  }
}
