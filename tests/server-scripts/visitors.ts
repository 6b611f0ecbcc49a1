import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { Said, TestServer } from "./server.ts";

/** A visitor who asks a site's service again and again, a hundred times a second, on connections that are kept and on new ones. */
export class Visitor {
  readonly #server: TestServer;
  readonly #name: string;
  readonly #ended: Promise<Said>;
  #read = 0;

  /** @param secure file of the roots by which the visitor knows the site, where he comes by https */
  constructor(server: TestServer, slug: string, secure?: string) {
    this.#server = server;
    this.#name = `visitor-${slug}`;
    // A failed request is a line of its own between the answers; those of a reused connection come twenty at a time.
    const url = `${secure ? "https" : "http"}://${slug}.test/api/?[1-20]`;
    const way = `--connect-to ::${server.host.address}: ${secure ? `--cacert ${secure}` : ""}`;
    const ask = `curl --silent --show-error --no-buffer --fail --rate 100/s --max-time 10 ${way} "${url}"`;
    const loop = `while [ -e ${this.#path("asking")} ]; do ${ask} >>${this.#path("answers")} 2>&1; done`;
    // It goes away with the host's folder, so that no visitor outlives a test that fails.
    writeFileSync(this.#path("asking"), "");
    writeFileSync(this.#path("answers"), "");
    this.#ended = server.run(["sh", "-c", loop]);
  }

  /** What was answered since the last call, each answer once, after a moment in which at least one more came. */
  async answers(): Promise<string[]> {
    const before = this.#lines().length;
    for (let waited = 0; this.#lines().length < before + 2; waited += 20) {
      if (waited > 15_000) throw new Error(`${this.#name} gets no answer any more`);
      await sleep(20);
    }
    const lines = this.#lines();
    const fresh = lines.slice(this.#read);
    this.#read = lines.length;
    return [...new Set(fresh)];
  }

  /** @returns how many answers there were in all */
  async leave(): Promise<number> {
    rmSync(this.#path("asking"));
    await this.#ended;
    return this.#lines().length;
  }

  /** Whole lines only: the last one may still be on its way. */
  #lines(): string[] {
    return readFileSync(this.#path("answers"), "utf8").split("\n").slice(0, -1);
  }

  #path(name: string): string {
    return this.#server.host.path(`${this.#name}-${name}`);
  }
}
