import { DnsRecord } from "@pulumi/digitalocean/dnsRecord.js";
import { Domain } from "@pulumi/digitalocean/domain.js";
import * as pulumi from "@pulumi/pulumi";
import { groupByZone } from "../lib/zones.ts";

export interface DnsArgs {
  /** Every name that should lead to the server. */
  readonly names: readonly string[];
  /** Zones to make; names in none of them go into that of their registrable domain. */
  readonly zones: readonly string[];
  readonly ipAddress: pulumi.Input<string>;
  /** Whether Pulumi refuses to remove the zones: they may hold records of others. */
  readonly protect: boolean;
}

/** Seconds that resolvers may keep an address: short enough to move a site, long enough to spare queries. */
const ttl = 1800;

/** The zones of all sites, and an address record for each name. */
export class Dns extends pulumi.ComponentResource {
  readonly domains: readonly Domain[];

  constructor(name: string, args: DnsArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Dns", name, {}, opts);
    this.domains = [...groupByZone(args.names, args.zones)].map(([zone, records]) => {
      const domain = new Domain(`${name}-${zone}`, { name: zone }, { parent: this, protect: args.protect });
      for (const record of records) {
        new DnsRecord(
          `${name}-${record === "@" ? zone : `${record}.${zone}`}-a`,
          { domain: domain.name, type: "A", name: record, value: args.ipAddress, ttl },
          { parent: this },
        );
      }
      return domain;
    });
    this.registerOutputs({});
  }
}
