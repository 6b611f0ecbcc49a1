/**
 * Visitors of a site who never stop: a constant load, every request of which must be answered well. Runs as a program of its own, in the
 * network of the server: node bench/visitors.ts ADDRESS HOST PATH SECONDS
 *
 * A line on stdin names the phase that requests belong to from then on; the end of stdin, or so many SECONDS, ends the visits. Then a
 * JSON object is printed: see `Visits`.
 */
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

/** What visitors met with, by phase. */
export interface Visits {
  readonly [phase: string]: {
    readonly requests: number;
    /** Failed requests by what was wrong: the visitor's kind and the error. */
    readonly failures: Readonly<Record<string, number>>;
    /** Milliseconds until half, and until 99 of 100 requests were answered, and the longest; failed ones do not count. */
    readonly p50: number;
    readonly p99: number;
    readonly longest: number;
  };
}

interface Kind {
  readonly name: string;
  readonly count: number;
  readonly method: "GET" | "POST";
  readonly keepAlive: boolean;
  /** Milliseconds from the start of a request to that of the next. */
  readonly every: number;
}

const kinds: readonly Kind[] = [
  { name: "GET, connection kept", count: 4, method: "GET", keepAlive: true, every: 40 },
  { name: "POST, connection kept", count: 2, method: "POST", keepAlive: true, every: 40 },
  { name: "GET, a connection each", count: 4, method: "GET", keepAlive: false, every: 40 },
  { name: "POST, a connection each", count: 2, method: "POST", keepAlive: false, every: 40 },
  { name: "GET, connection kept and mostly idle", count: 4, method: "GET", keepAlive: true, every: 3000 },
];
/** Of each POST. The site answers with the bytes that it got. */
const body = Buffer.alloc(2000, "x");
const patience = 10_000;

const [address = "", host = "", path = "/", seconds = "60"] = process.argv.slice(2);
const phases = new Map<string, { milliseconds: number[]; failures: Record<string, number> }>();
let phase = "start";
let ended = false;

const lines = createInterface({ input: process.stdin });
lines.on("line", (line) => {
  phase = line;
});
lines.on("close", () => {
  ended = true;
});
const limit = setTimeout(() => lines.close(), Number(seconds) * 1000);

await Promise.all(kinds.flatMap((kind) => Array.from({ length: kind.count }, (_, index) => visit(kind, index))));
clearTimeout(limit);
process.stdout.write(`${JSON.stringify(summary())}\n`);

async function visit(kind: Kind, index: number): Promise<void> {
  const agent = new Agent({ keepAlive: kind.keepAlive, maxSockets: 1 });
  // Not all in the same moment.
  await sleep((kind.every * index) / kind.count);
  while (!ended) {
    const own = ofPhase(phase);
    const start = performance.now();
    const wrong = await ask(kind.method, agent);
    const taken = performance.now() - start;
    if (wrong === undefined) own.milliseconds.push(taken);
    else own.failures[`${kind.name}: ${wrong}`] = (own.failures[`${kind.name}: ${wrong}`] ?? 0) + 1;
    await sleep(Math.max(0, kind.every - taken));
  }
  agent.destroy();
}

/** One request, never repeated; answers what was wrong with it. */
function ask(method: Kind["method"], agent: Agent): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asked = request(
      { host: address, path, method, agent, headers: { Host: host }, timeout: patience },
      (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (part: string) => {
          text += part;
        });
        answer.on("error", (error: NodeJS.ErrnoException) => resolve(`answer cut: ${error.code ?? error.message}`));
        answer.on("end", () => {
          const expected = method === "POST" ? ` ${body.length}\n` : " 0\n";
          if (answer.statusCode !== 200) resolve(`status ${answer.statusCode}`);
          else resolve(text.endsWith(expected) ? undefined : `answer ${JSON.stringify(text.slice(0, 40))}`);
        });
      },
    );
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${patience} ms`)));
    asked.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    asked.end(method === "POST" ? body : undefined);
  });
}

function ofPhase(name: string) {
  const found = phases.get(name) ?? { milliseconds: [], failures: {} };
  phases.set(name, found);
  return found;
}

function summary(): Visits {
  return Object.fromEntries(
    [...phases].map(([name, { milliseconds, failures }]) => {
      const sorted = Float64Array.from(milliseconds).sort();
      const at = (share: number) =>
        sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
      const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
      return [name, { requests: sorted.length + failed, failures, p50: at(0.5), p99: at(0.99), longest: at(1) }];
    }),
  );
}
