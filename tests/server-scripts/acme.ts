import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { acmeDirectory } from "../../local-cloud/acme/names.ts";
import { acmeFiles } from "../../local-cloud/acme/pebble.ts";
import type { TestServer } from "./server.ts";

const address = "198.18.200.1";

/** What the ACME server of a test is like; see acme-server.ts. */
interface AcmeBehaviour {
  /** Names in DNS, and where they lead. */
  readonly names: Readonly<Record<string, string>>;
  readonly validitySeconds?: number;
  /** Names that it issues nothing for. */
  readonly blocked?: readonly string[];
}

/** Pebble beside a test server, with DNS, in the server's own network. */
export class TestAcme {
  /** PEM file: what Pebble has issued by. */
  readonly roots: string;
  readonly #server: TestServer;
  readonly #folder: string;
  #behaviour: AcmeBehaviour;
  #child: ChildProcess | undefined;
  #said = "";

  constructor(server: TestServer, behaviour: AcmeBehaviour) {
    this.#server = server;
    this.#folder = server.host.path("acme");
    this.roots = acmeFiles(join(this.#folder, "acme")).roots;
    this.#behaviour = behaviour;
  }

  /** What `configure` takes. */
  get input(): Record<string, unknown> {
    const ca = readFileSync(acmeFiles(join(this.#folder, "acme")).authority, "utf8");
    return { tls: { enabled: true, directory: acmeDirectory, trial: null, email: "admin@box.test", ca, hsts: true } };
  }

  /** Starts it, with what is changed of its behaviour; it has forgotten everything and has another root. */
  async start(changes: Partial<AcmeBehaviour> = {}): Promise<void> {
    await this.stop();
    this.#behaviour = { ...this.#behaviour, ...changes };
    this.setNames({});
    const words = [
      "netns",
      "exec",
      this.#server.host.namespace,
      process.execPath,
      "--disable-warning=ExperimentalWarning",
    ];
    const script = join(import.meta.dirname, "acme-server.ts");
    const child = spawn("ip", [...words, script, this.#folder, address, this.#file], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child = child;
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#said += text;
    });
    const [word] = await Promise.race([once(child.stdout as NodeJS.ReadableStream, "data"), once(child, "exit")]);
    if (String(word) !== "ready\n") throw new Error(`Pebble does not start:\n${this.#said}`);
  }

  /** Adds names to DNS, at once. */
  setNames(names: Readonly<Record<string, string>>): void {
    this.#behaviour = { ...this.#behaviour, names: { ...this.#behaviour.names, ...names } };
    writeFileSync(this.#file, JSON.stringify(this.#behaviour));
  }

  /** How many orders it got since its last start. */
  get orders(): number {
    const log = readFileSync(join(this.#folder, "acme/run/pebble.log"), "utf8");
    return log.match(/POST \/order-plz -> calling handler/g)?.length ?? 0;
  }

  /** Waits for an order beyond these: what Pebble says of one passes through a pipe, and may come after the order's own answer. */
  async moreOrdersThan(orders: number): Promise<void> {
    for (const end = Date.now() + 10_000; this.orders <= orders; await sleep(50)) {
      if (Date.now() > end) throw new Error(`Pebble got no order beyond ${orders}`);
    }
  }

  /** Lets it answer a certificate's renewal information with a window that has passed. */
  async suggestRenewal(certificate: string): Promise<void> {
    const window = { start: "2026-01-01T00:00:00Z", end: "2026-01-02T00:00:00Z" };
    const body = JSON.stringify({ certificate, ariResponse: JSON.stringify({ suggestedWindow: window }) });
    const url = "https://127.0.0.1:15000/set-renewal-info/";
    const said = await this.#server.run(["curl", "-fsS", "--insecure", "--data-binary", "@-", url], body);
    if (said.code !== 0) throw new Error(said.errors);
  }

  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    await ended;
  }

  get #file(): string {
    return `${this.#folder}.json`;
  }
}
