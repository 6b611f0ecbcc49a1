import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, open, readdir, readFile, rm, stat, truncate } from "node:fs/promises";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { readCredentials } from "./credentials.ts";
import { checkMachine, checkRoot } from "./preflight.ts";
import { logFile, pidFile, readProcess, startTimeOf, userErrorMark } from "./process.ts";
import { hasLeftovers, sweep } from "./sweep.ts";

/** Receives one line for each step that takes a while. */
export type Report = (line: string) => void;

/** Where programs are that the local cloud needs, when the caller knows it. */
export interface CloudTools {
  /** Absolute path of versitygw 1.8.0. Default: the one on PATH, else in set-up's cache. */
  readonly versitygw?: string | undefined;
  /** Absolute path of Pebble 2.10.1, likewise. */
  readonly pebble?: string | undefined;
}

/** What is known of a copy of the local cloud. */
export interface CloudStatus {
  readonly running: boolean;
  readonly pid?: number;
  /** Whether the API answers. */
  readonly answers: boolean;
  readonly apiEndpoint: string;
  readonly addressRange: string;
  readonly droplets: readonly {
    readonly id: number;
    readonly name: string;
    readonly status: string;
    readonly address: string;
  }[];
}

const startMilliseconds = 90_000;
/** Droplets in namespaces get 10 s for their own shutdown, all at once; those of qemu, which may be emulated, 120 s. */
const stopMilliseconds = 150_000;
const largestLog = 5 * 1024 * 1024;
/** Keeps its memory small (as MALLOC_ARENA_MAX does): it is idle nearly always, and its bulk data goes through, not in. */
const nodeOptions = ["--disable-warning=ExperimentalWarning", "--max-semi-space-size=2", "--optimize-for-size"];
const mainFile = fileURLToPath(new URL("main.ts", import.meta.url));

/**
 * Starts the local cloud and resolves when it answers. Does nothing when it runs already; takes away first what a dead one left.
 * @returns `false` when it ran already.
 * @throws UserError when this machine cannot run it, or with the log's last lines when it ends before it is ready.
 */
export async function startCloud(
  settings: LocalCloudSettings,
  report: Report = () => {},
  tools: CloudTools = {},
): Promise<boolean> {
  if (await answersNow(settings)) {
    return false;
  }
  checkRoot();
  if (!(await hasLeftovers(settings))) {
    await checkMachine(settings); // before so much as a lock file is made
  }
  return withLock(settings, async () => {
    if (await answersSoon(settings)) {
      return false;
    }
    if (await hasLeftovers(settings)) {
      report("removing what an earlier local cloud left behind");
      await endProcess(settings);
      await sweep(settings);
    }
    await checkMachine(settings);
    report("starting the local cloud");
    await launchMain(settings, tools);
    return true;
  });
}

/**
 * Stops the local cloud: droplets are shut down, then every process, mount, namespace, link, route and control group of it goes. Its
 * data stays.
 * @returns `false` when there was nothing to stop.
 */
export async function stopCloud(settings: LocalCloudSettings, report: Report = () => {}): Promise<boolean> {
  if (!(await hasLeftovers(settings))) {
    return false;
  }
  checkRoot();
  return withLock(settings, async () => {
    report("stopping the local cloud");
    await endProcess(settings);
    await sweep(settings);
    return true;
  });
}

/** Stops the local cloud and deletes its data: droplets, buckets, images, credentials. */
export async function resetCloud(settings: LocalCloudSettings, report: Report = () => {}): Promise<void> {
  await stopCloud(settings, report);
  await rm(settings.cloud, { recursive: true, force: true });
}

/** Whether the local cloud runs, and what is in it. */
export async function cloudStatus(settings: LocalCloudSettings): Promise<CloudStatus> {
  const recorded = await readProcess(settings);
  const answers = recorded !== undefined && (await apiAnswers(settings));
  return {
    running: recorded !== undefined,
    ...(recorded && { pid: recorded.pid }),
    answers,
    apiEndpoint: settings.apiEndpoint,
    addressRange: settings.addressRange,
    droplets: answers ? await listDroplets(settings) : [],
  };
}

/**
 * The end of the local cloud's log, or of a droplet's console.
 * @param options.lines how many lines at most, default 100; options.droplet id or name of a droplet.
 * @throws UserError when there is no such log.
 */
export async function cloudLogs(
  settings: LocalCloudSettings,
  options: { readonly lines?: number; readonly droplet?: string } = {},
): Promise<string> {
  const path = options.droplet === undefined ? logFile(settings) : await consoleFile(settings, options.droplet);
  const text = await readFile(path, "utf8").catch(() => {
    throw new UserError(`There is no log at ${path} yet: \`npx chillbox cloud start\` starts the local cloud.`);
  });
  return lastLines(text, options.lines ?? 100);
}

async function consoleFile(settings: LocalCloudSettings, droplet: string): Promise<string> {
  const listed = (await apiAnswers(settings)) ? await listDroplets(settings) : [];
  const id = listed.find((one) => one.name === droplet)?.id ?? droplet;
  const known: string[] = await readdir(join(settings.cloud, "droplets")).catch(() => []);
  if (!known.includes(String(id))) {
    throw new UserError(`There is no droplet "${droplet}". \`npx chillbox cloud status\` lists them.`);
  }
  return join(settings.cloud, "droplets", String(id), "console.log");
}

/**
 * One start, stop or reset at a time. The kernel holds the lock for a `flock` process, which ends with our end of its pipe: however
 * this process ends, the lock is free.
 */
async function withLock<T>(settings: LocalCloudSettings, action: () => Promise<T>): Promise<T> {
  await mkdir(settings.home, { recursive: true });
  const file = join(settings.home, "cloud.lock");
  const holder = spawn("flock", [file, "sh", "-c", "echo held; exec cat"], { stdio: ["pipe", "pipe", "ignore"] });
  const ended = once(holder, "exit");
  ended.catch(() => {}); // told below
  try {
    const [word]: unknown[] = await Promise.race([once(holder.stdout, "data"), ended]);
    if (String(word) !== "held\n") {
      throw new Error(`flock ${file} ended with ${String(word)}`);
    }
    return await action();
  } finally {
    holder.stdin.end();
    await ended;
  }
}

async function answersNow(settings: LocalCloudSettings): Promise<boolean> {
  const recorded = await readProcess(settings);
  return recorded?.ready === true && (await apiAnswers(settings));
}

/** A process that lives but does not answer gets a moment: it may be busy. */
async function answersSoon(settings: LocalCloudSettings): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    if (!(await readProcess(settings))) {
      return false;
    }
    if (await answersNow(settings)) {
      return true;
    }
    await sleep(1000);
  }
  return false;
}

async function apiAnswers(settings: LocalCloudSettings): Promise<boolean> {
  return fetch(`${settings.apiEndpoint}/v2/account`, { signal: AbortSignal.timeout(2000) }).then(
    async (response) => {
      await response.arrayBuffer();
      return true;
    },
    () => false,
  );
}

async function launchMain(settings: LocalCloudSettings, tools: CloudTools): Promise<void> {
  const path = logFile(settings);
  await mkdir(settings.cloud, { recursive: true, mode: 0o700 });
  await mkdir(dirname(path), { recursive: true });
  await rotate(path);
  const log = await open(path, "a", 0o600);
  const { size: before } = await log.stat();
  const child = spawn(process.execPath, [...nodeOptions, mainFile], {
    detached: true,
    cwd: settings.repository,
    stdio: ["ignore", log.fd, log.fd],
    env: {
      ...pick(process.env, ["PATH", "HOME", "TMPDIR", "LANG", "TZ", "XDG_CACHE_HOME"]),
      MALLOC_ARENA_MAX: "2",
      CHILLBOX_STARTER: String(process.pid),
      CHILLBOX_HOME: settings.home,
      CHILLBOX_PORT_BASE: String(settings.ports.gateway),
      CHILLBOX_ADDRESS_RANGE: settings.addressRange,
      CHILLBOX_DROPLET_DRIVER: settings.dropletDriver,
      ...(tools.versitygw && { CHILLBOX_VERSITYGW: tools.versitygw }),
      ...(tools.pebble && { CHILLBOX_PEBBLE: tools.pebble }),
    },
  });
  await log.close();
  let ended = false;
  child.on("exit", () => {
    ended = true;
  });
  child.on("error", () => {
    ended = true;
  });
  child.unref();
  const deadline = Date.now() + startMilliseconds;
  while (!(await answersNow(settings))) {
    if (ended || Date.now() > deadline) {
      await endProcess(settings);
      await sweep(settings);
      const said = (await readFile(path)).subarray(before).toString("utf8");
      const [, reason] = said.split(` ${userErrorMark}`);
      if (reason !== undefined) {
        throw new UserError(reason.split("\n")[0] ?? "");
      }
      const what = ended ? "ended before it was ready" : `was not ready after ${startMilliseconds / 1000} s`;
      throw new UserError(`The local cloud ${what}. The end of its log (${path}):\n${lastLines(said, 15)}`);
    }
    await sleep(25);
  }
}

/** Asks the recorded process to end, and ends it when it does not. */
async function endProcess(settings: LocalCloudSettings): Promise<void> {
  const recorded = await readProcess(settings);
  if (!recorded) {
    return;
  }
  const deadline = Date.now() + stopMilliseconds;
  signal(recorded.pid, "SIGTERM");
  signal(recorded.pid, "SIGCONT"); // it may have been stopped
  while ((await startTimeOf(recorded.pid)) === recorded.startTime) {
    if (Date.now() > deadline) {
      signal(recorded.pid, "SIGKILL");
    }
    await sleep(25);
  }
  await rm(pidFile(settings), { force: true });
}

/** The process outlives the command that starts it: passphrases and keys in the caller's environment must not. */
function pick(environment: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(environment).filter(([name]) => names.includes(name)));
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // it has just ended
  }
}

async function rotate(path: string): Promise<void> {
  const size = await stat(path).then(
    (info) => info.size,
    () => 0,
  );
  if (size > largestLog) {
    await copyFile(path, `${path}.old`);
    await truncate(path);
  }
}

async function listDroplets(settings: LocalCloudSettings): Promise<CloudStatus["droplets"]> {
  const credentials = await readCredentials(settings);
  const response = await fetch(`${settings.apiEndpoint}/v2/droplets?per_page=200`, {
    headers: { authorization: `Bearer ${credentials?.token}` },
    signal: AbortSignal.timeout(5000),
  });
  const body = (await response.json()) as { droplets?: DropletAnswer[] };
  return (body.droplets ?? []).map(({ id, name, status, networks }) => ({
    id,
    name,
    status,
    address: networks.v4.find((one) => one.type === "public")?.ip_address ?? "",
  }));
}

interface DropletAnswer {
  readonly id: number;
  readonly name: string;
  readonly status: string;
  readonly networks: { readonly v4: readonly { readonly ip_address: string; readonly type: string }[] };
}

function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}
