/**
 * Runs one of the playbooks of this folder against one server.
 *
 *   node ansible/run.ts enrol|configure|unlock|update    input: one JSON object on stdin ({@link RunInput}); output: one JSON object on stdout
 *
 * Ansible keeps to itself: its own configuration, HOME and known_hosts, `ssh -F none`; keys and input lie in a private folder on tmpfs that
 * goes away with this program. A booting server is waited for. Progress goes to stderr, whose last line says what failed; exit code 1 then.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, rm, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { create } from "tar";
import { hashFile } from "../lib/archive.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { knownHost, ownOptions, saysOtherHostKey, sshWords } from "../lib/open-ssh.ts";
import { OtherHostKey } from "../lib/other-host-key.ts";
import type { ServerPython } from "../lib/pip.ts";
import { makePrivateFolder, writePrivate } from "../lib/private-folder.ts";
import { UserError } from "../lib/user-error.ts";
import { carriedWheels } from "../lib/wheels.ts";

/** What stdin holds. */
interface RunInput {
  readonly host: string;
  /** Default 22. */
  readonly port?: number;
  readonly user: string;
  /** OpenSSH private key, PEM. */
  readonly privateKey: string;
  /** Public host keys, `ssh-ed25519 AAAA...`; any of them may answer. */
  readonly hostKeys: readonly string[];
  /** Passed on to the server's scripts; `chillbox-enrol`, `chillbox-configure` and `chillbox-unlock` say what it holds. */
  readonly input: Readonly<Record<string, unknown>>;
}

/** What `configure` reads here; the rest of its input goes to the server. */
interface ConfigureFiles {
  readonly hostKey: string;
  /** A tar on the laptop with the server scripts at its top, and its SHA-256 in hex. */
  readonly scripts: { readonly path: string; readonly sha256: string };
  /** What the server's Python is, as enrol told: which Python packages it gets follows from that. */
  readonly python: ServerPython;
  /** Digest of the lists of these packages: another one has the server configured anew. */
  readonly wheels: string;
}

const here = dirname(fileURLToPath(import.meta.url));
const playbooks = ["enrol", "configure", "unlock", "update"] as const;
/** A virtual machine of the local cloud may be emulated in software. */
const isSlow = localCloudSettings().dropletDriver === "qemu";
const BOOT_LIMIT_MS = isSlow ? 900_000 : 90_000;
/** The task that no connection comes to when the firewall's new rules lock us out. */
const CONFIRMATION = "Confirm the firewall over a new connection";
const LOCKED_OUT =
  "No new connection came through the firewall's new rules: 30 s after they were loaded the old ones are back. Does sshAllowedAddresses have your own address?";

const stopped = new AbortController();
let playbook: ReturnType<typeof spawn> | undefined;

async function main(): Promise<void> {
  const playbookName = process.argv[2];
  if (!isPlaybook(playbookName)) throw new UserError(`Say: node ansible/run.ts ${playbooks.join("|")}`);
  const input = readInput(await text(process.stdin));
  const folder = await makePrivateFolder("chillbox-ansible-");
  try {
    await mkdir(join(folder, "home"), { mode: 0o700 });
    await writeConnection(folder, input);
    await writeVariables(folder, playbookName, input);
    await waitForSsh(folder, input);
    process.stdout.write(`${JSON.stringify(await runPlaybook(folder, playbookName, input.host))}\n`);
  } finally {
    await closeConnections(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

function isPlaybook(name: string | undefined): name is (typeof playbooks)[number] {
  return playbooks.some((playbook) => playbook === name);
}

function readInput(json: string): RunInput {
  const input = JSON.parse(json) as RunInput;
  for (const key of ["host", "user", "privateKey"] as const) {
    if (typeof input[key] !== "string" || input[key] === "") throw new UserError(`The input's ${key} is missing.`);
  }
  if (!/^[0-9A-Za-z.:-]+$/.test(input.host)) throw new UserError(`The input's host "${input.host}" is no address.`);
  if (!Array.isArray(input.hostKeys) || input.hostKeys.length === 0 || !input.hostKeys.every(isPublicKey)) {
    throw new UserError('The input\'s hostKeys are not a list of public keys ("ssh-ed25519 AAAA...").');
  }
  if (typeof input.input !== "object" || input.input === null) throw new UserError("The input's input is missing.");
  return input;
}

function isPublicKey(key: unknown): boolean {
  return typeof key === "string" && /^ssh-ed25519 [A-Za-z0-9+/=]+( [^\n]*)?$/.test(key.trim());
}

/**
 * Writes the key, the host keys, and an inventory with the same server three times, each with a connection of its own: `confirmed` and
 * `again` trust the last host key only.
 */
async function writeConnection(folder: string, input: RunInput): Promise<void> {
  const port = input.port ?? 22;
  const lines = input.hostKeys.map((key) => knownHost(input, key));
  await writePrivate(join(folder, "key"), `${input.privateKey.trimEnd()}\n`);
  await writePrivate(join(folder, "known_hosts.server"), lines.join(""));
  await writePrivate(join(folder, "known_hosts.confirmed"), lines.at(-1) ?? "");
  await writePrivate(join(folder, "known_hosts.again"), lines.at(-1) ?? "");
  const hosts = Object.fromEntries(
    ["server", "confirmed", "again"].map((host) => [
      host,
      {
        ansible_host: input.host,
        ansible_port: port,
        ansible_user: input.user,
        ansible_ssh_args: sshOptions(folder, host).join(" "),
      },
    ]),
  );
  await writePrivate(join(folder, "inventory.yml"), JSON.stringify({ all: { hosts } }));
}

/** Options of ssh: nothing of the person's own set-up is read; the connection is kept open for the next command. */
function sshOptions(folder: string, host: string): string[] {
  return sshWords({
    ...ownOptions({ key: join(folder, "key"), knownHosts: join(folder, `known_hosts.${host}`) }),
    HostKeyAlgorithms: "ssh-ed25519",
    ConnectTimeout: isSlow ? "60" : "10",
    ControlMaster: "auto",
    ControlPersist: "60",
    ControlPath: join(folder, `ssh.${host}`),
  });
}

async function writeVariables(folder: string, name: string, { input }: RunInput): Promise<void> {
  if (name !== "configure") {
    return writePrivate(join(folder, "variables.json"), JSON.stringify({ [`${name}_input`]: input }));
  }
  const { hostKey, scripts, python, wheels: _, ...rest } = input as unknown as ConfigureFiles;
  const variables = {
    configure_host_key: hostKey,
    configure_scripts: await checkScripts(scripts),
    configure_wheels: await packWheels(folder, python),
    configure_input: rest,
  };
  await writePrivate(join(folder, "variables.json"), JSON.stringify(variables));
}

async function checkScripts({ path, sha256 }: ConfigureFiles["scripts"]): Promise<string> {
  const digest = await hashFile(path);
  if (digest !== sha256) throw new UserError(`${path} is not the archive it should be (its SHA-256 is ${digest}).`);
  return path;
}

/**
 * One tar with a folder for each set of wheels, the same bytes for the same files: apart from the scripts, which change often, it is sent
 * once.
 */
async function packWheels(folder: string, python: ServerPython): Promise<string> {
  const bundle = join(folder, "wheels");
  for (const [set, path] of Object.entries(
    await carriedWheels({ repository: join(here, ".."), server: python, log: progress }),
  )) {
    const names = (await readdir(path)).filter((name) => name.endsWith(".whl"));
    if (names.length === 0) throw new UserError(`${path} holds no wheels: remove it and run the set-up again.`);
    await mkdir(join(bundle, set), { recursive: true });
    for (const name of names) await symlink(join(path, name), join(bundle, set, name));
  }
  const files = (await readdir(bundle, { recursive: true })).filter((name) => name.endsWith(".whl")).sort();
  const file = join(folder, "wheels.tar");
  await create({ file, cwd: bundle, portable: true, mtime: new Date(0), noDirRecurse: true, follow: true }, files);
  return file;
}

/** Connects until the server lets us in, at most {@link BOOT_LIMIT_MS}; the connection stays open for Ansible. */
async function waitForSsh(folder: string, input: RunInput): Promise<void> {
  const until = Date.now() + BOOT_LIMIT_MS;
  const target = ["-p", String(input.port ?? 22), "-l", input.user, input.host, "true"];
  for (let told = false; ; told = true) {
    const { code, errors } = await ssh(folder, "server", target);
    if (code === 0) return;
    if (saysOtherHostKey(errors)) throw new OtherHostKey(input.host);
    if (Date.now() > until) {
      throw new UserError(
        `${input.host} does not let ${input.user} in within ${BOOT_LIMIT_MS / 1000} s: ${lastLine(errors)}`,
      );
    }
    if (!told) progress(`waiting for ${input.host}`);
    await sleep(250, undefined, { signal: stopped.signal });
  }
}

async function ssh(folder: string, host: string, words: readonly string[]): Promise<{ code: number; errors: string }> {
  const child = spawn("ssh", [...sshOptions(folder, host), ...words], {
    env: environment(folder),
    stdio: ["ignore", "ignore", "pipe"],
  });
  // A master that stays in the background keeps stderr open, so the exit is waited for, not the stream's end.
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (part: string) => {
    errors += part;
  });
  const [code] = (await once(child, "exit")) as [number | null];
  child.stderr.destroy();
  return { code: code ?? 1, errors };
}

async function closeConnections(folder: string): Promise<void> {
  for (const host of ["server", "confirmed", "again"])
    await ssh(folder, host, ["-O", "exit", "x"]).catch(() => undefined);
}

/** @returns what the playbook reports. */
async function runPlaybook(folder: string, name: string, host: string): Promise<unknown> {
  const words = [
    "--inventory",
    join(folder, "inventory.yml"),
    "--extra-vars",
    `@${join(folder, "variables.json")}`,
    join(here, `${name}.yml`),
  ];
  // A group of its own, so that all of it can be ended at once.
  playbook = spawn("ansible-playbook", words, {
    env: environment(folder),
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const ended = once(playbook, "close") as Promise<[number | null]>;
  let said = "";
  playbook.stderr?.setEncoding("utf8").on("data", (part: string) => {
    said += part;
  });
  let result: unknown;
  let failure: string | undefined;
  let task = "";
  if (playbook.stdout) {
    for await (const line of createInterface({ input: playbook.stdout })) {
      const event = readEvent(line);
      task = event.task ?? task;
      if (event.task && event.task !== "Report") progress(event.task);
      if (event.error) failure ??= event.unreachable && task === CONFIRMATION ? LOCKED_OUT : event.error;
      if (event.result) result = JSON.parse(event.result);
    }
  }
  const [code] = await ended.catch((error: NodeJS.ErrnoException) => {
    throw new UserError(
      error.code === "ENOENT" ? "ansible-playbook is not on PATH: run the set-up (npm run up)." : String(error),
    );
  });
  playbook = undefined;
  // The second connection, to the server's own key alone, may be the one that meets somebody else.
  if (saysOtherHostKey(failure ?? "")) throw new OtherHostKey(host);
  if (failure !== undefined) throw new UserError(failure.trim());
  if (code !== 0 || result === undefined)
    throw new UserError(`ansible-playbook failed with ${code}: ${lastLine(said)}`);
  return result;
}

function readEvent(line: string): { task?: string; error?: string; unreachable?: boolean; result?: string } {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

/** An allow-list: nothing secret that our own environment may hold reaches Ansible, ssh or a plugin. */
function environment(folder: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    HOME: join(folder, "home"),
    LANG: "C.UTF-8",
    USER: "chillbox",
    ANSIBLE_CONFIG: join(here, "ansible.cfg"),
    ANSIBLE_HOME: join(folder, "home"),
    ANSIBLE_LOCAL_TEMP: join(folder, "home"),
    PYTHONDONTWRITEBYTECODE: "1",
  };
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}

function lastLine(words: string): string {
  return words.trim().split("\n").at(-1) || "no reason was given";
}

function stop(): void {
  stopped.abort();
  if (playbook?.pid) process.kill(-playbook.pid, "SIGTERM");
}

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
await main().catch((error: unknown) => {
  const message = stopped.signal.aborted ? "Interrupted." : error instanceof UserError ? error.message : String(error);
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
});
