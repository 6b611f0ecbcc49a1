import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { TestServer } from "../../tests/server-scripts/server.ts";
import type { Bench, Group } from "../group.ts";
import { ratios, show } from "../measure.ts";
import { benchServer, type ReleaseOptions, release, type Switched, siteCommand } from "../server-site.ts";
import type { Visits } from "../visitors.ts";

/** Switches of a site on a real server while it is visited all the time, and what going back costs beside a deploy. */
export const switchGroup: Group = {
  name: "switch",
  what: "switches of a site under load (count: how many, default 50), rollback beside deploy",
  minutes: 4,
  limitMinutes: (count = 50) => 10 + count * 0.1,
  quick: true,
  run: measureSwitches,
};

const slug = "switched";
const port = 8101;
/** After so many switches the site is left alone for a moment, so that quiet and busy times are measured side by side. */
const block = 25;
const quietSeconds = 6;
const newReleases = 5;

type Manifest = Awaited<ReturnType<typeof release>>;

async function measureSwitches(bench: Bench): Promise<void> {
  const switches = bench.count ?? 50;
  const server = await benchServer(bench);
  const make = (word: string, options?: ReleaseOptions) => release(server, slug, port, word, options);
  await siteCommand(server, "install", await make("first"));
  await measureRollback(bench, server, make);

  const kept = [await make("one"), await make("two"), await make("three")];
  for (const manifest of kept) await siteCommand(server, "install", manifest);
  const visitors = visit(bench, server, 120 + switches * 6);
  await sleep(2000);
  for (let done = 0; done < switches; ) {
    visitors.phase("quiet");
    await sleep(quietSeconds * 1000);
    visitors.phase("switches");
    for (const end = Math.min(switches, done + block); done < end; done += 1) await switchTo(server, kept, done);
  }
  visitors.phase("quiet");
  await sleep(quietSeconds * 1000);
  visitors.phase("new releases");
  for (let made = 0; made < newReleases; made += 1) {
    await siteCommand(server, "install", await make(`visited-${made}`));
  }
  report(bench, switches, await visitors.end());
}

/**
 * A new release with another line of code, and back; then one with other requirements, and back: what the server says that each took,
 * without visitors.
 */
async function measureRollback(
  { note }: Bench,
  server: TestServer,
  make: (word: string, options?: ReleaseOptions) => Promise<Manifest>,
) {
  const deploys: Switched[] = [];
  const built: Switched[] = [];
  const rollbacks: Switched[] = [];
  const rollbacksOfBuilt: Switched[] = [];
  for (let round = 0; round < newReleases; round += 1) {
    deploys.push(await siteCommand(server, "install", await make(`new-${round}`)));
    rollbacks.push(await siteCommand(server, "rollback", { slug }));
    built.push(await siteCommand(server, "install", await make(`built-${round}`, { requirements: `round ${round}` })));
    rollbacksOfBuilt.push(await siteCommand(server, "rollback", { slug }));
  }
  const all = (ones: readonly Switched[]) => ones.map(({ milliseconds }) => milliseconds);
  const served = (ones: readonly Switched[]) => ones.map(({ switchMilliseconds }) => switchMilliseconds);
  note({ name: "deploy of a changed line, on the server", unit: "ms", values: all(deploys) });
  note({ name: "- until visitors got it", unit: "ms", values: served(deploys) });
  note({ name: "deploy of changed requirements, on the server", unit: "ms", values: all(built) });
  note({ name: "- until visitors got it", unit: "ms", values: served(built) });
  const back = [...rollbacks, ...rollbacksOfBuilt];
  note({ name: "rollback, on the server", unit: "ms", values: all(back), limit: 500 });
  note({ name: "- until visitors got it", unit: "ms", values: served(back) });
  const beside = (deployed: readonly Switched[], undone: readonly Switched[]) => ratios(all(undone), all(deployed));
  note({ name: "rollback / deploy of a changed line", unit: "x", values: beside(deploys, rollbacks), limit: 0.3 });
  const ofBuilt = beside(built, rollbacksOfBuilt);
  note({ name: "rollback / deploy of changed requirements", unit: "x", values: ofBuilt, limit: 0.3 });
}

/** One switch of four is a rollback to the release before; the others install a release that the server still has. */
async function switchTo(server: TestServer, kept: readonly Manifest[], turn: number): Promise<void> {
  const order = [0, 1, 1, 2] as const;
  const said =
    turn % 4 === 2
      ? await siteCommand(server, "rollback", { slug })
      : await siteCommand(server, "install", kept[order[(turn % 4) as 0 | 1 | 3] ?? 0]);
  if (!["installed", "rolled back"].includes(said.result)) throw new Error(`switch ${turn} was none: ${said.result}`);
}

/** Starts the visitors in the server's network. */
function visit({ atEnd }: Bench, server: TestServer, seconds: number) {
  const script = join(import.meta.dirname, "../visitors.ts");
  const words = [script, server.host.address, `${slug}.test`, "/api/", String(seconds)];
  const child = spawn("ip", ["netns", "exec", server.host.namespace, process.execPath, ...words], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  child.stdin.on("error", () => undefined);
  const output = text(child.stdout);
  const ended = once(child, "close");
  atEnd(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  return {
    phase: (name: string) => void child.stdin.write(`${name}\n`),
    end: async () => {
      child.stdin.end();
      await ended;
      return JSON.parse(await output) as Visits;
    },
  };
}

function report({ note, remark }: Bench, switches: number, visits: Visits): void {
  const { quiet, switches: busy, "new releases": fresh } = visits;
  if (!quiet || !busy || !fresh) throw new Error("the visitors ended before the switches did");
  const failed = Object.values(visits).flatMap(({ failures }) => Object.entries(failures));
  note({
    name: `${switches} switches and ${newReleases} new releases, visited: failed requests`,
    unit: "requests",
    values: [failed.reduce((sum, [, count]) => sum + count, 0)],
    limit: 0,
  });
  note({ name: "p99 during switches / while nothing happens", unit: "x", values: [busy.p99 / quiet.p99], limit: 2 });
  note({ name: "p50 during switches / while nothing happens", unit: "x", values: [busy.p50 / quiet.p50] });
  note({ name: "p99 while new releases are installed / nothing happens", unit: "x", values: [fresh.p99 / quiet.p99] });
  for (const [name, { requests, p50, p99, longest }] of Object.entries({
    quiet,
    switches: busy,
    "new releases": fresh,
  })) {
    const ms = (value: number) => show(value, { unit: "ms" });
    remark(`${name}: ${requests} requests, p50 ${ms(p50)}, p99 ${ms(p99)}, longest ${ms(longest)}`);
  }
  for (const [what, count] of failed) remark(`failed ${count} times: ${what}`);
}
