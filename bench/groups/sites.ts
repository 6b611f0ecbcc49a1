import { readdirSync } from "node:fs";
import { join, relative } from "node:path";
import type { ProjectCopy } from "../../tests/end-to-end/project-copy.ts";
import { serverMemory } from "../cloud-memory.ts";
import type { Bench, Group } from "../group.ts";
import { median, repeat, show } from "../measure.ts";
import { benchProject, cloudPid, succeed } from "../project.ts";

/** What many sites cost when nothing changed, and what nginx and the supervisors take beside them. */
export const sitesGroup: Group = {
  name: "sites",
  what: "`npm run up` of many sites (count: how many, default 20) beside one, nothing changed; memory of nginx and s6",
  minutes: 5,
  limitMinutes: (count = 20) => 10 + count * 0.5,
  quick: true,
  run: measureSites,
};

const runs = 5;

async function measureSites(bench: Bench): Promise<void> {
  const count = bench.count ?? 20;
  const copy = await benchProject(bench);
  // Their services alone need more than the smallest plan has.
  copy.edit("Pulumi.yaml", "default: s-1vcpu-512mb-10gb", "default: s-2vcpu-4gb");
  await succeed(copy, ["up", "--yes"]);
  const one = await repeat(runs, () => succeed(copy, ["up"]));
  const alone = serverMemory(await cloudPid(copy));
  for (let number = 2; number <= count; number += 1) addSite(copy, number);
  await succeed(copy, ["up"]);
  const many = await repeat(runs, () => succeed(copy, ["up"]));
  const memory = serverMemory(await cloudPid(copy));
  bench.note({ name: "`npm run up`, one site, nothing changed", unit: "s", values: one });
  bench.note({ name: `\`npm run up\`, ${count} sites, nothing changed`, unit: "s", values: many });
  bench.note({ name: `${count} sites / one site`, unit: "x", values: [median(many) / median(one)], limit: 1.3 });
  const beside = memory.nginx + memory.s6;
  bench.note({ name: `nginx and s6 beside ${count} sites`, unit: "MB", values: [beside], limit: 25 });
  for (const [sites, at] of [
    [1, alone],
    [count, memory],
  ] as const) {
    const mb = (value: number) => show(value, { unit: "MB" });
    const parts = `nginx ${mb(at.nginx)}, s6 ${mb(at.s6)}, services ${mb(at.sites)}, all else ${mb(at.rest)}`;
    bench.remark(`proportional set sizes with ${sites} ${sites === 1 ? "site" : "sites"}: ${parts}`);
  }
}

/** One more site like `hello`, with a page and a service of its own. */
export function addSite(copy: ProjectCopy, number: number): void {
  const slug = `hello${number}`;
  const rename = (text: string) => text.replaceAll(/hello(?=[._/"-]|$)/gm, slug);
  const site = join(copy.folder, "sites/hello");
  for (const entry of readdirSync(site, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = relative(copy.folder, join(entry.parentPath, entry.name));
    copy.write(rename(path), rename(copy.read(path)));
  }
  const file = rename(copy.read("sites/hello.site.json"));
  copy.write(`sites/${slug}.site.json`, file.replace('"8001"', `"${8000 + number}"`));
}
