import { readFileSync } from "node:fs";
import { join } from "node:path";
import { cacheFolder } from "../../lib/cache-folder.ts";
import { startAcme } from "../../local-cloud/acme/pebble.ts";
import { createDnsServer } from "../../local-cloud/gateway/dns.ts";

/**
 * Pebble and a DNS server in the network namespace that this program is started in, as the local cloud has them.
 * Arguments: folder, address of both, a JSON file with {names: {name: address}, validitySeconds, blocked, environment}, which is read anew
 * for each question. Prints "ready" and goes on until it is ended.
 */
const [folder = "", address = "", file = ""] = process.argv.slice(2);

interface Options {
  readonly names: Readonly<Record<string, string>>;
  readonly validitySeconds?: number;
  readonly blocked?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
}
const options = () => JSON.parse(readFileSync(file, "utf8")) as Options;
const log = (line: string) => process.stderr.write(`${line}\n`);

const zones = {
  holds: (name: string) => name.endsWith(".test"),
  lookup(name: string) {
    const data = options().names[name];
    return data === undefined ? [] : [{ type: "A" as const, ttl: 1, data }];
  },
  names: () => Object.keys(options().names),
};
const dns = createDnsServer({ zones, hostAddress: address, log });
await dns.listen(address, 53);
const { names: _, ...more } = options();
const acme = await startAcme({
  folder: join(folder, "acme"),
  address,
  port: 443,
  rootPort: 15000,
  dnsServer: `${address}:53`,
  pebblePath: join(cacheFolder(), "pebble/2.10.1/pebble"),
  log,
  ...more,
});
process.stdout.write("ready\n");
process.on("SIGTERM", async () => {
  await acme.stop();
  await dns.close();
  process.exit(0);
});
