import { readdirSync, readlinkSync } from "node:fs";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import type { CanarySearch, Hit } from "./canary.ts";
import { readQuietly } from "./droplet.ts";

/** The process that Pulumi itself hands the configuration, decrypted, in its environment: Node with the program, started by the language host. */
const excepted = "PULUMI_CONFIG=";

/** Looks into every process of a copy again and again: its command line and its environment. */
export class ProcessWatch {
  /** What was found, each once. */
  readonly hits: Hit[] = [];
  /** How many processes were looked at. */
  seen = 0;
  /** How many of them were the excepted one. */
  exceptions = 0;
  readonly #settings: LocalCloudSettings;
  readonly #folder: string;
  readonly #search: () => CanarySearch;
  readonly #known = new Map<string, string>();
  readonly #timer: NodeJS.Timeout;
  #work: Promise<unknown> = Promise.resolve();

  /** @param search asked each time, because there are more canaries as time goes on */
  constructor(settings: LocalCloudSettings, folder: string, search: () => CanarySearch) {
    this.#settings = settings;
    this.#folder = folder;
    this.#search = search;
    this.#timer = setInterval(() => this.#look(), 100);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.caughtUp();
  }

  /** Waits until all that was seen has been searched. */
  async caughtUp(): Promise<void> {
    await this.#work;
  }

  #look(): void {
    for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
      const line = readQuietly(`/proc/${pid}/cmdline`);
      // A process that begins is its parent's copy, until it becomes another program.
      if (line === "" || this.#known.get(pid) === line) continue;
      this.#known.set(pid, line);
      const environment = readQuietly(`/proc/${pid}/environ`);
      if (!this.#isOurs(pid, line, environment)) continue;
      this.seen++;
      const isExcepted = environment.includes(excepted);
      if (isExcepted) this.exceptions++;
      const text = isExcepted ? line : `${line}\0${environment}`;
      const place = `process ${pid}: ${line.replaceAll("\0", " ").slice(0, 80)}`;
      this.#work = this.#work.then(async () => {
        this.hits.push(...(await this.#search().inBytes(Buffer.from(text, "latin1"), place)));
      });
    }
  }

  /** Of this copy: in one of its droplets, or working with its folder. The tests' own processes are not. */
  #isOurs(pid: string, line: string, environment: string): boolean {
    if (Number(pid) === process.pid) return false;
    if ([line, environment].some((text) => text.includes(this.#folder))) return true;
    if (readQuietly(`/proc/${pid}/cgroup`).includes(`chillbox-${this.#settings.id}/`)) return true;
    try {
      return readlinkSync(`/proc/${pid}/cwd`).startsWith(this.#folder);
    } catch {
      return false;
    }
  }
}
