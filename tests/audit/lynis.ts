import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Audit, Surroundings } from "./audit.ts";

/** The aim is 90, which this kind of droplet cannot have: `docs/security.md` says by what. Less than this has lost something. */
const LEAST = 67;
/** Lynis's own folders; nothing of it is changed and no test is skipped. */
const SCRIPT = `set -eu
rm -rf /tmp/lynis && mkdir /tmp/lynis && cd /tmp/lynis
curl --silent --fail http://198.18.200.1/lynis.tar | tar x
cd usr/share/lynis && cp -r ../../../etc/lynis/. . && cp ../../sbin/lynis .
sh ./lynis audit system --quick --no-colors --report-file /tmp/lynis.report --log-file /tmp/lynis.log </dev/null >/tmp/lynis.out 2>&1 || true
rm -rf /tmp/lynis
grep -E '^(hardening_index|lynis_version|tests_executed|suggestion|warning)' /tmp/lynis.report
`;

/** Debian's package of Lynis on the server, before it is configured and afterwards. */
export const lynis: Audit = {
  name: "Lynis",
  async before(surroundings) {
    await fetchLynis(surroundings);
    const { server, folder } = surroundings;
    writeFileSync(join(folder, "lynis-stock.txt"), server.host.ssh(SCRIPT));
  },
  async run({ server, folder }) {
    const said = await server.ssh("doas sh", SCRIPT);
    writeFileSync(join(folder, "lynis.txt"), said.out);
    const stock = score(readFileSync(join(folder, "lynis-stock.txt"), "utf8"));
    const own = score(said.out);
    const left = said.out.split("\n").filter((line) => /^(suggestion|warning)/.test(line));
    return {
      good: own >= LEAST,
      lines: [`${own} of 100, the image before it is configured ${stock}`, ...left.map(readable)],
    };
  },
};

async function fetchLynis({ server, folder }: Surroundings): Promise<void> {
  const work = join(folder, "lynis");
  mkdirSync(work, { recursive: true });
  // apt checks the package against Debian's keys.
  execFileSync("apt-get", ["--quiet", "-o", "APT::Sandbox::User=root", "download", "lynis"], {
    cwd: work,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const archive = readdirSync(work).find((name) => name.endsWith(".deb")) ?? "";
  const tar = execFileSync("dpkg-deb", ["--fsys-tarfile", join(work, archive)], { maxBuffer: 64 << 20 });
  writeFileSync(join(server.files, "lynis.tar"), tar);
}

function score(report: string): number {
  return Number(/^hardening_index=(\d+)$/m.exec(report)?.[1] ?? Number.NaN);
}

/** `suggestion[]=SSH-7408|Consider ...|details|...` as `SSH-7408 Consider ... (details)`. */
function readable(line: string): string {
  const [kind = "", rest = ""] = line.split("[]=");
  const [test, text, details] = rest.split("|");
  return `${kind} ${test} ${text}${details && details !== "-" ? ` (${details})` : ""}`;
}
