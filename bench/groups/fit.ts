import { readFileSync } from "node:fs";
import { join } from "node:path";
import { findCgroups } from "../../local-cloud/droplets/cgroups.ts";
import type { TestServer } from "../../tests/server-scripts/server.ts";
import { serverMemory } from "../cloud-memory.ts";
import type { Bench, Group } from "../group.ts";
import { show } from "../measure.ts";
import { benchServer, release, siteCommand } from "../server-site.ts";

/** How many sites of one gunicorn each a droplet of 512 MB takes. */
export const fitGroup: Group = {
  name: "fit",
  what: "sites of one gunicorn each that fit a droplet (count: its MiB of memory, default 512)",
  minutes: 3,
  limitMinutes: (count = 512) => 10 + count / 64,
  quick: true,
  run: measureFit,
};

const most = 200;

async function measureFit(bench: Bench): Promise<void> {
  const memoryMiB = bench.count ?? 512;
  const server = await benchServer(bench, { memoryMiB });
  let fit = 0;
  let why = `only ${most} were tried`;
  let memory = serverMemory(server.host.pid);
  while (fit < most) {
    const trouble = await addSite(server, fit);
    if (trouble !== undefined) {
      why = trouble;
      break;
    }
    memory = serverMemory(server.host.pid);
    fit += 1;
  }
  bench.note({ name: `sites of one gunicorn each in ${memoryMiB} MiB`, unit: "sites", values: [fit] });
  bench.note({ name: "- memory of each", unit: "MB", values: [memory.sites / fit] });
  const mb = (value: number) => show(value, { unit: "MB" });
  bench.remark(
    `with ${fit} sites: services ${mb(memory.sites)}, nginx ${mb(memory.nginx)}, s6 ${mb(memory.s6)}, all else ${mb(memory.rest)} (proportional set sizes); ` +
      `one more did not fit: ${why}`,
  );
}

/** Installs one site more, and asks all of them; answers what went wrong. */
async function addSite(server: TestServer, number: number): Promise<string | undefined> {
  const slug = `site-${number}`;
  try {
    await siteCommand(server, "install", await release(server, slug, 9000 + number, "one"));
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    return `its installation failed (${said.trim().split("\n").at(-1)?.trim()})`;
  }
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
