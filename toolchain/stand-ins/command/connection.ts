import { setTimeout as sleep } from "node:timers/promises";
import { openSsh, type SshConnection, SshError } from "../../../lib/open-ssh.ts";
import type { Call } from "../plugin/plugin.ts";

/** How to reach a host: the input `connection` of the resources under `command:remote`. The official plugin takes passwords, agents and proxies, too. */
export interface Connection {
  readonly host: string;
  readonly port?: number;
  readonly user?: string;
  /** OpenSSH text. */
  readonly privateKey?: string;
  /** The only host key to accept, as in authorized_keys. Without it any host is accepted. */
  readonly hostKey?: string;
  /** Dials that may fail before it gives up; -1: no end. */
  readonly dialErrorLimit?: number;
  /** Seconds for one dial; 0: no end. */
  readonly perDialTimeout?: number;
}

const known: readonly string[] = [
  "host",
  "port",
  "user",
  "privateKey",
  "hostKey",
  "dialErrorLimit",
  "perDialTimeout",
] satisfies (keyof Connection)[];
const firstWaitMilliseconds = 100;
const longestWaitMilliseconds = 5_000;

/**
 * Opens an ssh connection, trying again as often as `dialErrorLimit` allows (default 10).
 * @throws when the host cannot be reached, shows another key than `hostKey`, or refuses the user.
 */
export async function dial(connection: Connection, call: Call): Promise<SshConnection> {
  checkConnection(connection);
  const limit = connection.dialErrorLimit ?? 10;
  for (let dials = 1, wait = firstWaitMilliseconds; ; dials += 1) {
    try {
      return await dialOnce(connection, call.signal);
    } catch (error) {
      const reason = reasonOf(error, connection);
      if (call.signal.aborted || (limit >= 0 && dials > limit)) {
        throw new Error(`ssh to ${address(connection)} failed ${dials} times: ${reason}`);
      }
      call.log(`ssh to ${address(connection)} failed ${dials} times so far: ${reason}`);
    }
    await sleep(wait, undefined, { signal: call.signal });
    wait = Math.min(wait * 1.5, longestWaitMilliseconds);
  }
}

function dialOnce(connection: Connection, signal: AbortSignal): Promise<SshConnection> {
  const { host, port, user = "root", privateKey = "", hostKey, perDialTimeout = 15 } = connection;
  const hostKeys = hostKey === undefined ? undefined : [hostKey];
  const target = { host, user, privateKey, hostKeys, ...(port === undefined ? {} : { port }) };
  return openSsh(target, { limit: perDialTimeout * 1000, signal });
}

function checkConnection(connection: Connection): void {
  const foreign = Object.keys(connection).find((name) => !known.includes(name));
  if (foreign !== undefined) throw new Error(`connection.${foreign} is for the official plugin alone`);
  if (!connection.privateKey) throw new Error("connection.privateKey is missing: this plugin logs in by nothing else");
  const { hostKey } = connection;
  const [type = "", blob = ""] = hostKey?.trim().split(/\s+/) ?? [];
  const key = Buffer.from(blob, "base64");
  if (hostKey !== undefined && (key.length === 0 || !key.subarray(4).toString("latin1").startsWith(type))) {
    throw new Error("connection.hostKey must be one line as in authorized_keys: 'ssh-ed25519 AAAA...'");
  }
}

function address({ user, host, port }: Connection): string {
  return `${user ?? "root"}@${host}:${port ?? 22}`;
}

/** Of another host key in the official plugin's words. */
function reasonOf(error: unknown, { host }: Connection): string {
  if (error instanceof SshError && error.isOtherHostKey) {
    return `ssh: host key mismatch: ${host} answers with another host key than the one that connection.hostKey pins`;
  }
  return error instanceof Error ? error.message : String(error);
}
