import { createRequire } from "node:module";
import { constants } from "node:os";
import type { Client, ClientChannel } from "ssh2";
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
  /** OpenSSH text. It stays in memory. */
  readonly privateKey: string;
  /** The only host key that may answer: `ssh-ed25519 AAAA...`. */
  readonly hostKey: string;
}

/** What a command on the server said. */
export interface Answer {
  /** Exit code; 128 and the signal's number for one that was killed. */
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** A command or a shell that runs on the server. */
export interface Session {
  readonly channel: ClientChannel;
  /** Its exit code; 128 and the signal's number when it was killed, 255 when the connection was lost before. */
  readonly ended: Promise<number>;
}

/** Milliseconds in which a server must have let us in. */
const CONNECT_LIMIT = 10_000;

/**
 * Connects to the server of a stack, as its Pulumi state says: nothing of the person's own ssh set-up, no file with a key.
 * @param stack default: the local cloud's
 * @throws UserError when the stack has no server or the server does not let us in
 */
export async function openServer(stack: string = stackOfLocalCloud): Promise<Client> {
  return connect((await readOutputs(stack)).connection);
}

/**
 * Opens an ssh connection to a server that answers with this host key.
 * @throws UserError when it does not answer within 10 s, has another key, or does not let the user in
 */
export async function connect(connection: Connection): Promise<Client> {
  const ssh = createRequire(import.meta.url)("ssh2") as typeof import("ssh2");
  const client = new ssh.Client();
  const [type = "", key = ""] = connection.hostKey.trim().split(/\s+/);
  const expected = Buffer.from(key, "base64");
  let isOther = false;
  const ready = new Promise<void>((resolve, reject) => {
    client.once("ready", resolve);
    client.on("error", reject);
    client.once("close", () => reject(new Error("the connection was closed")));
  });
  client.connect({
    host: connection.host,
    port: connection.port ?? 22,
    username: connection.user,
    privateKey: connection.privateKey,
    authHandler: ["publickey"],
    algorithms: { serverHostKey: [type as "ssh-ed25519"] },
    hostVerifier: (answered: Buffer) => {
      isOther = !answered.equals(expected);
      return !isOther;
    },
    readyTimeout: CONNECT_LIMIT,
    keepaliveInterval: 15_000,
    keepaliveCountMax: 4,
  });
  try {
    await ready;
  } catch (error) {
    client.destroy();
    throw isOther ? new OtherHostKey(connection.host) : new UserError(noWayIn(connection, error as Error));
  }
  return client;
}

function noWayIn({ host, user }: Connection, { message }: Error): string {
  return `${host} does not let ${user} in: ${message}. Is it running? For the local cloud \`npx chillbox cloud status\` tells.`;
}

/**
 * Runs a command on the server and collects what it says.
 * @param input its standard input; the command starts meanwhile when that still takes a while
 */
export async function run(client: Client, command: string, input: string | Promise<string> = ""): Promise<Answer> {
  const starting = execute(client, command).then(collect);
  try {
    const [{ channel, answer }, text] = await Promise.all([starting, input]);
    channel.end(text);
    return await answer;
  } catch (error) {
    starting.then(({ channel }) => channel.close()).catch(() => undefined);
    throw error;
  }
}

function collect({ channel, ended }: Session): { channel: ClientChannel; answer: Promise<Answer> } {
  const parts = { output: [] as Buffer[], errors: [] as Buffer[] };
  channel.on("data", (part: Buffer) => parts.output.push(part));
  channel.stderr.on("data", (part: Buffer) => parts.errors.push(part));
  const textOf = (buffers: readonly Buffer[]) => Buffer.concat(buffers).toString();
  const answer = ended.then((code) => ({ code, output: textOf(parts.output), errors: textOf(parts.errors) }));
  return { channel, answer };
}

/**
 * Runs one of the server's commands, which prints JSON.
 * @param input its standard input, as JSON; see `run`
 * @throws UserError with what it said on standard error when it fails
 */
export async function ask<T>(client: Client, command: string, input?: unknown): Promise<T> {
  const asJson = (value: unknown) => (value === undefined ? "" : JSON.stringify(value));
  const text = input instanceof Promise ? input.then(asJson) : asJson(input);
  const { code, output, errors } = await run(client, command, text);
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

/** Starts a command on the server. */
export function execute(client: Client, command: string, options: { pty?: boolean } = {}): Promise<Session> {
  const pty = options.pty ? terminal() : undefined;
  return new Promise((resolve, reject) => {
    client.exec(command, pty ? { pty } : {}, (error, channel) =>
      error ? reject(error) : resolve(sessionOf(client, channel)),
    );
  });
}

/**
 * Starts the admin user's shell on the server.
 * @param options.pty in a terminal of the size of this one
 */
export function openShell(client: Client, options: { pty: boolean }): Promise<Session> {
  return new Promise((resolve, reject) => {
    client.shell(options.pty ? terminal() : false, (error, channel) =>
      error ? reject(error) : resolve(sessionOf(client, channel)),
    );
  });
}

/** Listens at once: a short command's end may be in the same packet as its beginning. */
function sessionOf(client: Client, channel: ClientChannel): Session {
  let code = 255;
  channel.once("exit", (status: number | null, signal?: string) => {
    code = status ?? 128 + (constants.signals[signal as NodeJS.Signals] ?? 0);
  });
  const ended = new Promise<number>((resolve) => {
    channel.once("close", () => resolve(code));
    // The library does not close the channels of a connection that was lost.
    client.once("close", () => resolve(code));
  });
  return { channel, ended };
}

/** Ends this process when nobody reads its output any more, as in `logs hello | head`, with the exit code of SIGPIPE. */
export function endWithReader(): void {
  process.stdout.on("error", () => process.exit(128 + constants.signals.SIGPIPE));
}

function terminal(): { term: string; cols: number; rows: number } {
  const { columns = 80, rows = 24 } = process.stdout;
  return { term: process.env.TERM ?? "xterm", cols: columns, rows };
}
