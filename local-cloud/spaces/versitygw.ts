import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../lib/user-error.ts";

/** The running object store: where it listens and the key that opens it, both new at each start. */
export interface ObjectStore {
  /** Name of a socket in the abstract namespace: nothing outside this machine's own network namespace can reach it. */
  readonly socketPath: string;
  readonly accessKey: string;
  readonly secretKey: string;
  readonly region: string;
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

const startMs = 10_000;
const stopMs = 5_000;

/**
 * Starts versitygw 1.8.0 on `<folder>/data` and keeps it running: if it dies it is started again. It dies with this process, even if that
 * is killed.
 * @throws UserError when it does not answer within 10 s.
 */
export async function startObjectStore(options: {
  readonly folder: string;
  readonly versitygwPath: string;
  readonly log: (line: string) => void;
}): Promise<ObjectStore> {
  const name = `chillbox-spaces-${randomBytes(8).toString("hex")}`;
  const key = {
    accessKey: randomBytes(10).toString("hex"),
    secretKey: randomBytes(32).toString("hex"),
    region: "us-east-1",
  };
  const data = join(options.folder, "data");
  const versions = join(options.folder, "versions");
  for (const folder of [data, versions]) await mkdir(folder, { recursive: true, mode: 0o700 });

  let child: ChildProcess | undefined;
  let lastLine = "";
  let stopping = false;
  const launch = () => {
    // The name of an abstract socket begins with NUL, which versitygw writes as "@".
    const args = ["--port", `@${name}`, "--region", key.region, "--quiet", "--keep-alive", "--health", "/healthz"];
    const posix = ["posix", "--versioning-dir", versions, "--concurrency", "64", "--io-buffer-size", "262144", data];
    const started = spawn("setpriv", ["--pdeathsig", "KILL", "--", options.versitygwPath, ...args, ...posix], {
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        ROOT_ACCESS_KEY_ID: key.accessKey,
        ROOT_SECRET_ACCESS_KEY: key.secretKey,
        // Collect early: it serves one laptop, and idles most of the time.
        GOGC: "40",
        GOMEMLIMIT: "40MiB",
      },
    });
    child = started;
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        lastLine = text.trim().split("\n").at(-1) ?? lastLine;
        options.log(`versitygw: ${text.trim()}`);
      });
    }
    started.on("error", (error) => {
      lastLine = error.message;
    });
    started.on("exit", (code, signal) => {
      if (stopping) return;
      options.log(`versitygw ended (${signal ?? code}): starting it again`);
      setTimeout(() => stopping || launch(), 500).unref();
    });
  };

  const stop = async () => {
    stopping = true;
    const running = child;
    if (running === undefined || running.pid === undefined || running.exitCode !== null || running.signalCode !== null)
      return;
    const ended = new Promise<void>((resolve) => running.once("exit", () => resolve()));
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), stopMs);
    await ended;
    clearTimeout(timer);
  };

  launch();
  const socketPath = `\0${name}`;
  for (const end = Date.now() + startMs; !(await isHealthy(socketPath)); await sleep(20)) {
    if (Date.now() < end) continue;
    await stop();
    throw new UserError(
      `The object store ${options.versitygwPath} does not start: ${lastLine || "it says nothing"}. Run: npm run doctor`,
    );
  }
  return {
    socketPath,
    ...key,
    get pid() {
      return child?.pid;
    },
    stop,
  };
}

function isHealthy(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({ socketPath, path: "/healthz", agent: false, timeout: 1000 }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    probe.on("timeout", () => probe.destroy());
    probe.on("error", () => resolve(false));
    probe.end();
  });
}
