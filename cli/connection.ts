import { once } from "node:events";
import { constants } from "node:os";
import { text } from "node:stream/consumers";
import { openSsh, type SshConnection, type SshError } from "../lib/open-ssh.ts";
import { OtherHostKey } from "../lib/other-host-key.ts";
import { UserError } from "../lib/user-error.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { readOutputs } from "./stack-outputs.ts";

/** How the admin user reaches a stack's server: the stack's output `connection`. */
export interface Connection {
  readonly host: string;
  /** Default 22. */
  readonly port?: number;
  readonly user: string;
  /** OpenSSH text. */
  readonly privateKey: string;
  /** The only host key that may answer: `ssh-ed25519 AAAA...`. */
  readonly hostKey: string;
}

/** What a command on the server said. */
export interface Answer {
  /** Exit code; 255 for one that was killed, and when the connection was lost before. */
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Milliseconds in which a server must have let us in. */
const CONNECT_LIMIT = 10_000;

/**
 * Connects to the server of a stack, as its Pulumi state says: nothing of the person's own ssh set-up.
 * @param stack default: the local cloud's
 * @throws UserError when the stack has no server or the server does not let us in
 */
export async function openServer(stack: string = stackOfLocalCloud): Promise<SshConnection> {
  return connect((await readOutputs(stack)).connection);
}

/**
 * Opens an ssh connection to a server that answers with this host key.
 * @throws UserError when it does not answer within 10 s, has another key, or does not let the user in
 */
export async function connect(connection: Connection): Promise<SshConnection> {
  const { hostKey, ...target } = connection;
  try {
    return await openSsh({ ...target, hostKeys: [hostKey] }, { limit: CONNECT_LIMIT });
  } catch (error) {
    const refused = error as SshError;
    throw refused.isOtherHostKey ? new OtherHostKey(connection.host) : new UserError(noWayIn(connection, refused));
  }
}

function noWayIn({ host, user }: Connection, { message }: Error): string {
  return `${host} does not let ${user} in: ${message}. Is it running? For the local cloud \`npx chillbox cloud status\` tells.`;
}

/**
 * Runs a command on the server and collects what it says.
 * @param input its standard input; the command starts meanwhile when that still takes a while
 */
export async function run(
  server: SshConnection,
  command: string,
  input: string | Promise<string> = "",
): Promise<Answer> {
  const child = server.start(command);
  const answer = Promise.all([once(child, "close"), text(child.stdout), text(child.stderr)]);
  answer.catch(() => undefined);
  try {
    child.stdin.end(await input);
    const [[code], output, errors] = await answer;
    return { code, output, errors };
  } finally {
    child.kill();
  }
}

/**
 * Runs one of the server's commands, which prints JSON.
 * @param input its standard input, as JSON; see `run`
 * @throws UserError with what it said on standard error when it fails
 */
export async function ask<T>(server: SshConnection, command: string, input?: unknown): Promise<T> {
  const asJson = (value: unknown) => (value === undefined ? "" : JSON.stringify(value));
  const json = input instanceof Promise ? input.then(asJson) : asJson(input);
  const { code, output, errors } = await run(server, command, json);
  if (code !== 0) throw new UserError(explain(command, code, errors));
  return JSON.parse(output) as T;
}

function explain(command: string, code: number, errors: string): string {
  // How far it came is not why it failed.
  const reasons = errors.replace(/^chillbox-[a-z-]+: step: .*\n/gm, "");
  const said = reasons.trim().replace(/^chillbox-[a-z-]+: fatal: /gm, "");
  if (code === 127 || /not found/.test(said)) {
    return `The server does not know \`${command}\` yet: the next \`up\` brings its scripts up to date.`;
  }
  return said || `\`${command}\` failed on the server with ${code}.`;
}

/** Ends this process when nobody reads its output any more, as in `logs hello | head`, with the exit code of SIGPIPE. */
export function endWithReader(): void {
  process.stdout.on("error", () => process.exit(128 + constants.signals.SIGPIPE));
}
