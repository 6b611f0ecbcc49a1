import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { toTest } from "../../toolchain/tools/index.ts";
import { type Counts, type Layer, sum } from "./layer.ts";
import { runNodeTests } from "./node-tests.ts";

/** Tests that `npm test` runs with a few samples, by what asks for all of them. */
const longVersions = [
  { file: "tests/server-scripts/kills.test.ts", environment: { CHILLBOX_KILLS: "200" } },
  { file: "tests/security/fuzz.test.ts", environment: { CHILLBOX_FUZZ: "10000" } },
  { file: "tests/security/certs.test.ts", environment: { CHILLBOX_RENEWALS: "50" } },
  { file: "tests/security/envelope.test.ts", environment: { CHILLBOX_MUTANTS: "1000000" } },
];

/** The long versions: `npm run test:soak`. What they measured lies in `.chillbox/soak/` afterwards, a file for each test. */
export const soak: Layer = {
  name: "soak",
  needs: toTest,
  minutes: 120,
  run: async (limits) => {
    const reports = join(limits.repository, ".chillbox/soak");
    await mkdir(reports, { recursive: true });
    const results: Counts[] = [];
    for (const { file, environment } of longVersions) {
      const report = join(reports, file.replace(/^.*\/(.*)\.test\.ts$/, "$1.txt"));
      await rm(report, { force: true });
      // What the person has set counts more: CHILLBOX_SEED, or fewer kills.
      Object.assign(process.env, { ...environment, ...process.env, CHILLBOX_REPORT: report });
      results.push(await runNodeTests([file], 1, limits));
    }
    return sum(results);
  },
};
