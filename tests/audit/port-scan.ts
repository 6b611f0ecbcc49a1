import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Audit } from "./audit.ts";

const expected: readonly number[] = [22, 80, 443];

/**
 * A connection and a datagram to each of the 65,535 ports, from outside and from the server's private network; and what listens on the server,
 * whether a firewall stands before it or not. Nothing answers at 443 before a site has its certificate.
 */
export const portScan: Audit = {
  name: "port scan",
  async run({ server }) {
    const lines: string[] = [];
    const found = new Set<string>();
    for (const [where, address] of [
      ["outside", server.host.address],
      ["the VPC", server.host.vpcAddress],
    ] as const) {
      const said = await server.run([process.execPath, join(import.meta.dirname, "scan-ports.ts"), address]);
      if (said.code !== 0) throw new Error(said.errors);
      const { tcp, udp } = JSON.parse(said.out) as { tcp: number[]; udp: number[] };
      for (const port of tcp) found.add(`tcp ${port}`);
      for (const port of udp) found.add(`udp ${port}`);
      lines.push(`from ${where}, open of 65535: TCP ${tcp.join(" ") || "none"}, UDP ${udp.join(" ") || "none"}`);
    }
    const said = await server.ssh("doas sh", readFileSync(join(import.meta.dirname, "listening.sh"), "utf8"));
    const listening = said.out.trim().split("\n");
    lines.push(`listening beyond loopback: ${listening.join(", ")}`);
    const wanted = expected.map((port) => `tcp ${port}`);
    const good = said.code === 0 && [...found, ...listening].every((each) => wanted.includes(each));
    return { good: good && found.has("tcp 22") && found.has("tcp 80"), lines };
  },
};
