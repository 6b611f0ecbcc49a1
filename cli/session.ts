import { endWithReader, execute, openServer, openShell, type Session } from "./connection.ts";

/**
 * A shell on the server, or one command, with this terminal's input and output.
 * @param options.words the command, joined by blanks as ssh does; none: a shell
 * @param options.tty a terminal for the command, too
 * @returns its exit code
 */
export async function session(options: { stack?: string; words: readonly string[]; tty: boolean }): Promise<number> {
  const client = await openServer(options.stack);
  endWithReader();
  try {
    const isShell = options.words.length === 0;
    const hasTerminal = options.tty || (isShell && process.stdin.isTTY === true);
    const started = isShell
      ? await openShell(client, { pty: hasTerminal })
      : await execute(client, options.words.join(" "), { pty: hasTerminal });
    return await attach(started, hasTerminal);
  } finally {
    client.end();
  }
}

/** Joins it to this process's standard streams until it ends. */
async function attach({ channel, ended }: Session, hasTerminal: boolean): Promise<number> {
  const { stdin, stdout, stderr } = process;
  const resize = () => channel.setWindow(stdout.rows ?? 24, stdout.columns ?? 80, 0, 0);
  const isRaw = hasTerminal && stdin.isTTY;
  if (isRaw) stdin.setRawMode(true);
  if (hasTerminal) stdout.on("resize", resize);
  stdin.pipe(channel);
  channel.pipe(stdout, { end: false });
  channel.stderr.pipe(stderr, { end: false });
  try {
    return await ended;
  } finally {
    stdout.off("resize", resize);
    if (isRaw) stdin.setRawMode(false);
    stdin.unpipe(channel);
    // An open input would keep this process.
    stdin.destroy();
  }
}
