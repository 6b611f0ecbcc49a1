import type { DnsAnswer, Zones } from "../../local-cloud/types.ts";

/** Zones out of a plain table: name to records. The zone of a name is the longest entry above it that has a SOA record. */
export function tableZones(table: Record<string, readonly DnsAnswer[]>): Zones {
  return {
    holds: (name) =>
      Object.keys(table).some((zone) => hasSoa(table[zone]) && (name === zone || name.endsWith(`.${zone}`))),
    lookup: (name) => table[name] ?? [],
    names: () => Object.keys(table),
  };
}

/** A SOA record as the API gives it. */
export const soa: DnsAnswer = {
  type: "SOA",
  ttl: 1800,
  data: "ns1.digitalocean.com. hostmaster.hello.test. 1750000000 10800 3600 604800 1800",
};

export const address = (data: string): DnsAnswer => ({ type: "A", ttl: 60, data });
export const alias = (data: string): DnsAnswer => ({ type: "CNAME", ttl: 60, data });

function hasSoa(records: readonly DnsAnswer[] | undefined): boolean {
  return records?.some((record) => record.type === "SOA") ?? false;
}
