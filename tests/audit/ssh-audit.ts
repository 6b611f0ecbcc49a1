import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Audit } from "./audit.ts";

interface Report {
  readonly kex: readonly Algorithm[];
  readonly key: readonly Algorithm[];
  readonly enc: readonly Algorithm[];
  readonly mac: readonly Algorithm[];
  readonly banner: { readonly software: string };
}
interface Algorithm {
  readonly algorithm: string;
  readonly notes: { readonly fail?: readonly string[]; readonly warn?: readonly string[] };
}

/** The newest ssh-audit, with everything that it says of algorithms, keys and ciphers. */
export const sshAudit: Audit = {
  name: "ssh-audit",
  async run({ server, folder, tools }) {
    const said = await server.run([tools["ssh-audit"]?.path ?? "", "--json", server.host.address]);
    writeFileSync(join(folder, "ssh-audit.json"), said.out);
    const report = JSON.parse(said.out) as Report;
    const all = [...report.kex, ...report.key, ...report.enc, ...report.mac];
    const of = (kind: "fail" | "warn") =>
      all.flatMap(({ algorithm, notes }) => (notes[kind] ?? []).map((note) => `${algorithm}: ${note}`));
    const fails = of("fail");
    const warns = of("warn");
    return {
      good: fails.length === 0 && warns.length === 0,
      lines: [
        `${report.banner.software}: ${all.length} algorithms, ${fails.length} fail, ${warns.length} warn`,
        ...fails.map((line) => `fail ${line}`),
        ...warns.map((line) => `warn ${line}`),
      ],
    };
  },
};
