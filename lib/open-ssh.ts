/**
 * Connections by the system's OpenSSH: servers offer only key exchanges that a quantum computer will not undo later, and no library of npm
 * has one. Nothing of the person's own ssh set-up is read.
 */
import { type ChildProcess, type ChildProcessByStdio, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { makePrivateFolder, writePrivate } from "./private-folder.ts";

/** A host and who comes to it. */
export interface SshTarget {
  readonly host: string;
  /** Default 22. */
  readonly port?: number;
  readonly user: string;
  /** OpenSSH text. It lies in a file on tmpfs until ssh has logged in. */
  readonly privateKey: string;
  /** The host keys of which one has to answer, as in authorized_keys; `undefined`: any may. */
  readonly hostKeys: readonly string[] | undefined;
}

/** A command on the host. It ends with its own exit code, or with 255 when a signal ended it or the connection was lost. */
export type SshCommand = ChildProcessByStdio<Writable, Readable, Readable>;

/** An open connection. Each command is a session of its own on it, of which sshd lets in eight at a time. */
export interface SshConnection {
  /** Starts a command; `variables` reach it where sshd's AcceptEnv names them. */
  start(command: string, variables?: Readonly<Record<string, string>>): SshCommand;
  /** Starts a command, or a shell, that has this process's own terminal, input and output. */
  attach(command: string | undefined, options: { readonly terminal: boolean }): ChildProcess;
  readonly isOpen: boolean;
  /** Ends it, and what runs over it. */
  end(): void;
}

/** No connection came about. */
export class SshError extends Error {
  /** Somebody answered with another host key; nothing was sent to him. */
  readonly isOtherHostKey: boolean;

  /** @param said what ssh printed */
  constructor(said: string) {
    super(said.trim().split("\n").at(-1)?.trim() || "the connection was closed");
    this.isOtherHostKey = saysOtherHostKey(said);
  }
}

/** Whether ssh gave up because of the host's key. */
export function saysOtherHostKey(errors: string): boolean {
  return /Host key verification failed|REMOTE HOST IDENTIFICATION/.test(errors);
}

/**
 * Connects, once.
 * @param options.limit milliseconds in which the host must have let us in; 0: no end
 * @param options.signal cuts the connection
 * @throws SshError
 */
export async function openSsh(
  target: SshTarget,
  { limit, signal }: { readonly limit: number; readonly signal?: AbortSignal },
): Promise<SshConnection> {
  const folder = await makePrivateFolder("chillbox-ssh-");
  const remove = () => rmSync(folder, { recursive: true, force: true });
  try {
    await writeTarget(folder, target);
    const socket = join(folder, "socket");
    const options = {
      ...optionsFor(folder, target),
      ControlMaster: "yes",
      ControlPath: socket,
      // Says when we are in.
      PermitLocalCommand: "yes",
      LocalCommand: "echo in",
      // Each command says which of its own it means.
      SendEnv: "*",
    };
    // Its own session ends when this process does, however that ends.
    const words = [...sshWords(options), ...addressWords(target), "exec cat >/dev/null"];
    const stop = new AbortController();
    const master = spawn("ssh", words, {
      env: environment(),
      stdio: "pipe",
      signal: AbortSignal.any([stop.signal, ...(signal ? [signal] : [])]),
    });
    master.once("close", remove);
    await letIn(master, limit);
    rmSync(join(folder, "key"));
    return connectionBy(master, socket);
  } catch (error) {
    remove();
    throw error;
  }
}

/** Waits until the host has let the master in. */
function letIn(master: SshCommand, limit: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let said = "";
    const timer = limit > 0 ? setTimeout(() => end("Timed out while connecting"), limit) : undefined;
    const end = (reason: string) => {
      clearTimeout(timer);
      reject(new SshError(reason));
      master.kill();
    };
    master.stderr.setEncoding("utf8").on("data", (part: string) => {
      said += part;
    });
    master.stdin.on("error", () => undefined);
    master.once("error", ({ message }) => end(message));
    master.once("close", () => end(said));
    master.stdout.once("data", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

function connectionBy(master: SshCommand, socket: string): SshConnection {
  // Where the connection is gone, ssh would make another one.
  const words = sshWords({ ControlPath: socket, ProxyCommand: "false", LogLevel: "ERROR" });
  const isOpen = () => master.exitCode === null && master.signalCode === null;
  return {
    start(command, variables = {}) {
      const names = Object.keys(variables).flatMap((name) => ["-o", `SendEnv=${name}`]);
      const env = { ...environment(), ...variables };
      const child = spawn("ssh", [...words, ...names, "-T", "host", command], { env, stdio: "pipe" });
      // A command that is over does not read to the end.
      child.stdin.on("error", () => undefined);
      return child;
    },
    attach(command, { terminal }) {
      const rest = command === undefined ? [] : [command];
      return spawn("ssh", [...words, terminal ? "-tt" : "-T", "host", ...rest], {
        env: environment(),
        stdio: "inherit",
      });
    },
    get isOpen() {
      return isOpen();
    },
    end: () => void master.kill(),
  };
}

/** Files of a private folder: `key` and `known_hosts`. */
async function writeTarget(folder: string, { privateKey, hostKeys, ...target }: SshTarget): Promise<void> {
  await writePrivate(join(folder, "key"), `${privateKey.trimEnd()}\n`);
  await writePrivate(join(folder, "known_hosts"), (hostKeys ?? []).map((key) => knownHost(target, key)).join(""));
}

/** A line of known_hosts. */
export function knownHost({ host, port = 22 }: Pick<SshTarget, "host" | "port">, hostKey: string): string {
  return `${port === 22 ? host : `[${host}]:${port}`} ${hostKey.trim()}\n`;
}

function optionsFor(folder: string, { hostKeys }: SshTarget): Record<string, string> {
  const files = { key: join(folder, "key"), knownHosts: join(folder, "known_hosts") };
  if (hostKeys === undefined) return { ...ownOptions(files), StrictHostKeyChecking: "no" };
  // A host is asked for the kinds of keys that it is known by.
  const kinds = hostKeys.map((key) => key.trim().split(/\s+/)[0] ?? "");
  return { ...ownOptions(files), HostKeyAlgorithms: kinds.join(",").replace("ssh-rsa", "rsa-sha2-512,rsa-sha2-256") };
}

/** Options with which ssh logs in by one key, to who is in one file, and asks nobody. */
export function ownOptions(files: { readonly key: string; readonly knownHosts: string }): Record<string, string> {
  return {
    IdentityFile: files.key,
    IdentitiesOnly: "yes",
    IdentityAgent: "none",
    UserKnownHostsFile: files.knownHosts,
    GlobalKnownHostsFile: "/dev/null",
    StrictHostKeyChecking: "yes",
    UpdateHostKeys: "no",
    PreferredAuthentications: "publickey",
    BatchMode: "yes",
    // A host that is gone must not hold us up for ever.
    ServerAliveInterval: "15",
    ServerAliveCountMax: "4",
    LogLevel: "ERROR",
  };
}

/** The words of a command line that read no file of settings but have these options. */
export function sshWords(options: Readonly<Record<string, string>>): string[] {
  return ["-F", "none", ...Object.entries(options).flatMap(([key, value]) => ["-o", `${key}=${value}`])];
}

function addressWords({ host, port = 22, user }: SshTarget): string[] {
  return ["-p", String(port), "-l", user, "--", host];
}

/** Nothing secret that our own environment may hold. */
function environment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TERM } = process.env;
  return { PATH, HOME, TERM, LANG: "C.UTF-8", SHELL: "/bin/sh" };
}
