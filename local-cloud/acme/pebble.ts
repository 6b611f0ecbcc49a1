import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../../lib/user-error.ts";
import { replaceFile } from "../process.ts";
import { openAuthority } from "./authority.ts";
import { acmeName } from "./names.ts";

/** The ACME server of the local cloud, running. */
export interface AcmeServer {
  /** Root of the certificates that it issues: new at each of its starts. PEM. */
  readonly root: string;
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

export interface AcmeOptions {
  /** Where its own certificate's authority and the roots of its starts are kept: absolute path. */
  readonly folder: string;
  /** Where it listens: an address of this machine and two ports, one for ACME and one, on 127.0.0.1, for its root. */
  readonly address: string;
  readonly port: number;
  readonly rootPort: number;
  /** `address:port` of the DNS server by which it finds the names that it validates, at port 80. */
  readonly dnsServer: string;
  /** Absolute path of Pebble 2.10.1. */
  readonly pebblePath: string;
  readonly log: (line: string) => void;
  /** Seconds that its certificates are valid. Default: 90 days. */
  readonly validitySeconds?: number;
  /** Variables of Pebble's own (`PEBBLE_...`). Default: no waiting before a validation; it refuses nonces at its own rate of 5 %. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Names that it issues nothing for. */
  readonly blocked?: readonly string[];
}

const startMs = 10_000;
const stopMs = 5_000;
/** How many roots are kept: certificates of earlier starts are still in use on droplets. */
const rootsKept = 20;

/** Files that others read: the authority of the ACME server's own certificate, and the roots of what it issues. */
export function acmeFiles(folder: string): { readonly authority: string; readonly roots: string } {
  return { authority: join(folder, "ca/cert.pem"), roots: join(folder, "roots.pem") };
}

/**
 * Starts Pebble, Let's Encrypt's own ACME server for tests, and keeps it running. It forgets accounts, orders and its root when it ends;
 * clients have to cope, as they have to when a real one changes its root. It dies with this process, even if that is killed.
 * @throws UserError when it does not answer within 10 s.
 */
export async function startAcme(options: AcmeOptions): Promise<AcmeServer> {
  const authority = await openAuthority(options.folder, "chillbox local ACME server", acmeName);
  const own = await authority.issue([acmeName]);
  const run = join(options.folder, "run");
  await mkdir(run, { recursive: true, mode: 0o700 });
  const config = join(run, "pebble.json");
  await writeFile(join(run, "cert.pem"), own.certificate, { mode: 0o600 });
  await writeFile(join(run, "key.pem"), own.key, { mode: 0o600 });
  await writeFile(config, JSON.stringify(pebbleConfig(options, run)), { mode: 0o600 });

  let child: ChildProcess | undefined;
  let lastLine = "";
  let stopping = false;
  // Its chatter has a file of its own, of this start alone: the local cloud's log ends with what a person has to know.
  const chatter = createWriteStream(join(run, "pebble.log"), { mode: 0o600 });
  const launch = () => {
    const words = ["--pdeathsig", "KILL", "--", options.pebblePath, "-config", config, "-dnsserver", options.dnsServer];
    const started = spawn("setpriv", words, {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH, PEBBLE_VA_NOSLEEP: "1", GOMEMLIMIT: "24MiB", ...options.environment },
    });
    child = started;
    for (const stream of [started.stdout, started.stderr]) {
      stream.setEncoding("utf8").on("data", (said: string) => {
        lastLine = said.trim().split("\n").at(-1) ?? lastLine;
        chatter.write(said);
      });
    }
    started.on("error", (error) => {
      lastLine = error.message;
    });
    started.on("exit", (code, signal) => {
      if (stopping) return;
      options.log(`pebble ended (${signal ?? code}): starting it again`);
      setTimeout(() => {
        if (stopping) return;
        launch();
        noteRoot(options, authority.certificate).catch((error) => options.log(`pebble: ${error}`));
      }, 500).unref();
    });
  };
  const stop = async () => {
    stopping = true;
    const running = child;
    if (running?.pid === undefined || running.exitCode !== null || running.signalCode !== null) return;
    const ended = once(running, "exit");
    running.kill("SIGTERM");
    const timer = setTimeout(() => running.kill("SIGKILL"), stopMs);
    await ended;
    clearTimeout(timer);
  };

  launch();
  try {
    const root = await noteRoot(options, authority.certificate);
    return {
      root,
      get pid() {
        return child?.pid;
      },
      stop,
    };
  } catch {
    await stop();
    throw new UserError(
      `The ACME server ${options.pebblePath} does not start: ${lastLine || "it says nothing"}. Run: npm run doctor`,
    );
  }
}

function pebbleConfig(options: AcmeOptions, folder: string): object {
  return {
    pebble: {
      listenAddress: `${options.address}:${options.port}`,
      managementListenAddress: `127.0.0.1:${options.rootPort}`,
      certificate: join(folder, "cert.pem"),
      privateKey: join(folder, "key.pem"),
      httpPort: 80,
      tlsPort: 443,
      externalAccountBindingRequired: false,
      domainBlocklist: options.blocked ?? [],
      retryAfter: { authz: 1, order: 1 },
      keyAlgorithm: "ecdsa",
      profiles: { default: { description: "default", validityPeriod: options.validitySeconds ?? 90 * 86_400 } },
    },
  };
}

/** Waits until Pebble answers, and adds its root to those that are kept. */
async function noteRoot(options: AcmeOptions, authority: string): Promise<string> {
  for (const end = Date.now() + startMs; ; await sleep(50)) {
    const root = await askRoot(options.rootPort, authority).catch(() => undefined);
    if (root !== undefined) {
      const { roots } = acmeFiles(options.folder);
      const kept = certificatesIn(await readFile(roots, "utf8").catch(() => ""));
      await replaceFile(roots, [...kept.slice(1 - rootsKept), root.trim()].map((one) => `${one}\n`).join(""), 0o644);
      return root;
    }
    if (Date.now() > end) throw new Error("no answer");
  }
}

async function askRoot(port: number, authority: string): Promise<string> {
  const question = request({
    host: "127.0.0.1",
    port,
    path: "/roots/0",
    ca: authority,
    servername: acmeName,
    agent: false,
    timeout: 1000,
  });
  question.on("timeout", () => question.destroy(new Error("no answer")));
  question.end();
  const [answer] = (await once(question, "response")) as [IncomingMessage];
  return text(answer);
}

/** Each certificate of a PEM text. */
export function certificatesIn(pem: string): string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
}
