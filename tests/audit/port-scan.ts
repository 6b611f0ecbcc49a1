import { join } from "node:path";
import type { Audit } from "./audit.ts";

const expected = "22 80 443";

/** A connection to each of the 65,535 TCP ports, from outside and from the server's private network. */
export const portScan: Audit = {
  name: "port scan",
  async run({ server }) {
    const lines: string[] = [];
    for (const [where, address] of [
      ["outside", server.host.address],
      ["the VPC", server.host.vpcAddress],
    ] as const) {
      const program = join(import.meta.dirname, "scan-ports.ts");
      const said = await server.run([process.execPath, program, address]);
      if (said.code !== 0) throw new Error(said.errors);
      lines.push(`from ${where}, open of 65535: ${said.out.trim() || "none"}`);
    }
    // Nothing answers at 443 before a site has its certificate.
    const good = lines.every((line) => [expected, "22 80"].includes(line.split(": ")[1] ?? ""));
    return { good, lines };
  },
};
