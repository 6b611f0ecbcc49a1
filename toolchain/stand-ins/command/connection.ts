import { setTimeout as sleep } from "node:timers/promises";
import type { Client, ConnectConfig } from "ssh2";
import type { Call } from "../plugin/plugin.ts";

/** How to reach a host: the input `connection` of the resources under `command:remote`. */
export interface Connection {
  readonly host: string;
  readonly port?: number;
  readonly user?: string;
  readonly password?: string;
  /** PEM or OpenSSH text. */
  readonly privateKey?: string;
  readonly privateKeyPassword?: string;
  readonly agentSocketPath?: string;
  /** The only host key to accept, as in authorized_keys. Without it any host is accepted. */
  readonly hostKey?: string;
  /** Dials that may fail before it gives up; -1: no end. */
  readonly dialErrorLimit?: number;
  /** Seconds for one dial; 0: no end. */
  readonly perDialTimeout?: number;
  readonly proxy?: Connection;
}

const firstWaitMilliseconds = 100;
const longestWaitMilliseconds = 5_000;

/**
 * Opens an ssh connection, trying again as often as `dialErrorLimit` allows (default 10).
 * @throws when the host cannot be reached, shows another key than `hostKey`, or refuses the user.
 */
export async function dial(connection: Connection, call: Call): Promise<Client> {
  const limit = connection.dialErrorLimit ?? 10;
  for (let dials = 1, wait = firstWaitMilliseconds; ; dials += 1) {
    try {
      return await dialOnce(connection, call.signal);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (call.signal.aborted || (limit >= 0 && dials > limit)) {
        throw new Error(`ssh to ${address(connection)} failed ${dials} times: ${reason}`);
      }
      call.log(`ssh to ${address(connection)} failed ${dials} times so far: ${reason}`);
    }
    await sleep(wait, undefined, { signal: call.signal });
    wait = Math.min(wait * 1.5, longestWaitMilliseconds);
  }
}

function address({ user, host, port }: Connection): string {
  return `${user ?? "root"}@${host}:${port ?? 22}`;
}

async function dialOnce(connection: Connection, signal: AbortSignal): Promise<Client> {
  const { default: ssh } = await import("ssh2");
  const config = clientConfig(connection);
  const proxy = connection.proxy === undefined ? undefined : await dialOnce(connection.proxy, signal);
  if (proxy !== undefined) {
    config.sock = await forward(proxy, connection);
  }
  const client = new ssh.Client();
  const stop = (): void => {
    client.destroy();
  };
  signal.addEventListener("abort", stop);
  client.once("close", () => {
    proxy?.end();
    signal.removeEventListener("abort", stop);
  });
  return new Promise((resolve, reject) => {
    client.on("error", (error) => reject(isOtherKey(error) ? new Error(otherKeyText(connection)) : error));
    client.once("close", () => reject(new Error("the connection was closed")));
    client.once("ready", () => resolve(client));
    client.on("keyboard-interactive", (_name, _instructions, _language, prompts, finish) =>
      finish(prompts.map(() => connection.password ?? "")),
    );
    client.connect(config);
  });
}

function clientConfig(connection: Connection): ConnectConfig {
  const agent = connection.agentSocketPath ?? process.env.SSH_AUTH_SOCK;
  return {
    host: connection.host,
    port: connection.port ?? 22,
    username: connection.user ?? "root",
    readyTimeout: (connection.perDialTimeout ?? 15) * 1000,
    // A host that is gone must not hold up an update for ever.
    keepaliveInterval: 15_000,
    keepaliveCountMax: 4,
    ...(connection.privateKey === undefined ? {} : { privateKey: connection.privateKey }),
    ...(connection.privateKeyPassword === undefined ? {} : { passphrase: connection.privateKeyPassword }),
    ...(connection.password === undefined ? {} : { password: connection.password, tryKeyboard: true }),
    ...(agent ? { agent } : {}),
    ...(connection.hostKey === undefined ? {} : pinned(connection.hostKey)),
  };
}

function isOtherKey({ message }: Error): boolean {
  return /verification failed/.test(message);
}

/** Begins as the real plugin's words. */
function otherKeyText({ host }: Connection): string {
  return `ssh: host key mismatch: ${host} answers with another host key than the one that connection.hostKey pins`;
}

/** Accepts one host key alone, and asks the host for that kind of key. */
function pinned(hostKey: string): Pick<ConnectConfig, "hostVerifier" | "algorithms"> {
  const [type = "", blob = ""] = hostKey.trim().split(/\s+/);
  const expected = Buffer.from(blob, "base64");
  if (expected.length === 0 || !expected.subarray(4).toString("latin1").startsWith(type)) {
    throw new Error("connection.hostKey must be one line as in authorized_keys: 'ssh-ed25519 AAAA...'");
  }
  const kinds = type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"] : [type];
  return {
    hostVerifier: (key: Buffer) => key.equals(expected),
    algorithms: { serverHostKey: kinds as NonNullable<NonNullable<ConnectConfig["algorithms"]>["serverHostKey"]> },
  };
}

function forward(proxy: Client, { host, port }: Connection): Promise<NonNullable<ConnectConfig["sock"]>> {
  return new Promise((resolve, reject) => {
    proxy.forwardOut("127.0.0.1", 0, host, port ?? 22, (error, channel) =>
      error ? reject(error) : resolve(channel as NonNullable<ConnectConfig["sock"]>),
    );
  });
}
