import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Group } from "../group.ts";
import { seconds } from "../measure.ts";
import { benchProject, succeed } from "../project.ts";

/** A first `npm run up` with nothing cached: what a person meets who has just cloned the project. */
export const coldGroup: Group = {
  name: "cold",
  what: "a first `npm run up` with an empty cache",
  minutes: 8,
  limitMinutes: () => 30,
  quick: false,
  async run(bench) {
    const copy = await benchProject(bench);
    const cache = mkdtempSync(join(tmpdir(), "chillbox-bench-cache-"));
    bench.atEnd(() => rmSync(cache, { recursive: true, force: true }));
    const cold = await seconds(() => succeed(copy, ["up", "--yes"], { XDG_CACHE_HOME: cache }));
    bench.note({ name: "first `npm run up`, empty caches", unit: "s", values: [cold], limit: 600 });
    await copy.chillbox(["down"], { XDG_CACHE_HOME: cache });
  },
};
