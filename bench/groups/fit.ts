import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { carriedWheels } from "../../lib/wheels.ts";
import { findCgroups } from "../../local-cloud/droplets/cgroups.ts";
import type { TestServer } from "../../tests/server-scripts/server.ts";
import { serverMemory } from "../cloud-memory.ts";
import type { Bench, Group } from "../group.ts";
import { show } from "../measure.ts";
import { benchServer, type ReleaseOptions, release, siteCommand } from "../server-site.ts";

/** How many sites of one small Flask service each a droplet of 512 MB takes: a gunicorn each, and forked from one parent. */
export const fitGroup: Group = {
  name: "fit",
  what: "small Flask sites that fit a droplet, a gunicorn each and forked (count: its MiB of memory, default 512)",
  minutes: 6,
  limitMinutes: (count = 512) => 10 + count / 32,
  quick: true,
  async run(bench) {
    const memoryMiB = bench.count ?? 512;
    const alone = await measureFit(bench, memoryMiB, true);
    const forked = await measureFit(bench, memoryMiB, false);
    bench.note({ name: "forked / a gunicorn each", unit: "x", values: [forked / alone], limit: 2.5, goal: "least" });
  },
};

const most = 200;
/** Seconds for an installation: where memory is short, all is read from the disk again and again. */
const patience = 60;
const repository = resolve(import.meta.dirname, "../..");

async function measureFit(bench: Bench, memoryMiB: number, alone: boolean): Promise<number> {
  const server = await benchServer(bench, { memoryMiB });
  const options = { flask: (await carriedWheels({ repository, server: server.python })).chill, alone };
  let fit = 0;
  let why = `only ${most} were tried`;
  let memory = serverMemory(server.host.pid);
  while (fit < most) {
    const trouble = await addSite(server, fit, options);
    if (trouble !== undefined) {
      why = trouble;
      break;
    }
    memory = serverMemory(server.host.pid);
    fit += 1;
  }
  await server.close();
  const way = alone ? "a gunicorn each" : "forked from one parent";
  bench.note({ name: `Flask sites in ${memoryMiB} MiB, ${way}`, unit: "sites", values: [fit] });
  bench.note({ name: "- memory of their processes, by site", unit: "MB", values: [memory.sites / fit] });
  const mb = (value: number) => show(value, { unit: "MB" });
  const parts = `services ${mb(memory.sites)}, nginx ${mb(memory.nginx)}, s6 ${mb(memory.s6)}, all else ${mb(memory.rest)}`;
  bench.remark(`${way}, with ${fit} sites: ${parts} (proportional set sizes); one more did not fit: ${why}`);
  return fit;
}

/** Installs one site more, and asks all of them; answers what went wrong. */
async function addSite(server: TestServer, number: number, options: ReleaseOptions): Promise<string | undefined> {
  const slug = `site-${number}`;
  const start = performance.now();
  try {
    await siteCommand(server, "install", await release(server, slug, 9000 + number, "one", options));
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    return `its installation failed (${said.trim().split("\n").at(-1)?.trim()})`;
  }
  const taken = (performance.now() - start) / 1000;
  if (taken > patience) return `its installation took ${taken.toFixed(0)} s`;
  const killed = await killedForMemory(server);
  if (killed > 0) return "a process was ended for want of memory";
  for (let other = 0; other <= number; other += 1) {
    const url = `http://${server.host.address}/api/`;
    const { out } = await server.run([
      "curl",
      "--silent",
      "--max-time",
      "5",
      "--header",
      `Host: site-${other}.test`,
      url,
    ]);
    if (!out.startsWith("one ")) return `site ${other} answers ${JSON.stringify(out.slice(0, 40))}`;
  }
  return undefined;
}

/** How many processes of the droplet the kernel has ended because its memory was used up. */
async function killedForMemory(server: TestServer): Promise<number> {
  const { version, hierarchies } = await findCgroups();
  const top = hierarchies.find(({ controllers }) => controllers.includes("memory"))?.path ?? "";
  const file = version === 2 ? "memory.events" : "memory.oom_control";
  // The droplet's own group, and those below it, are where its processes are.
  const text = readFileSync(join(top, server.host.namespace, "droplet-1/machine", file), "utf8");
  return Number(/^oom_kill (\d+)/m.exec(text)?.[1] ?? 0);
}
