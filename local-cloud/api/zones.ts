import type { DnsAnswer, Zones } from "../types.ts";
import { fullName, recordsOf, soaData } from "./domains.ts";
import type { DnsRecord, DomainRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** The API's domains for a DNS server. Names are compared in lower case; a `*` record answers for names that have no record. */
export function makeZones(store: Store): Zones {
  return {
    holds: (name) => zoneOf(store, name) !== undefined,
    names: () => [...new Set(store.dnsRecords.all().map(fullName))],
    lookup(name) {
      const lower = name.toLowerCase();
      const zone = zoneOf(store, lower);
      if (zone === undefined) return [];
      const records = recordsOf(store, zone.id);
      const exact = records.filter((record) => fullName(record) === lower);
      const answers = exact.length > 0 ? exact : wildcards(records, lower);
      return answers.map((record) => answer(record, zone));
    },
  };
}

/** The zone of the name, or the nearest one above it. */
function zoneOf(store: Store, name: string): DomainRecord | undefined {
  const labels = name.toLowerCase().split(".");
  for (let index = 0; index < labels.length; index += 1) {
    const zone = store.domains.get(labels.slice(index).join("."));
    if (zone !== undefined) return zone;
  }
  return undefined;
}

/** As RFC 4592 has it: the wildcard right below the longest part of the name that exists. */
function wildcards(records: readonly DnsRecord[], name: string): DnsRecord[] {
  const names = records.map(fullName);
  const exists = (one: string) => names.some((other) => other === one || other.endsWith(`.${one}`));
  if (exists(name)) return [];
  const labels = name.split(".");
  for (let index = 1; index < labels.length; index += 1) {
    const encloser = labels.slice(index).join(".");
    if (exists(encloser)) return records.filter((record) => fullName(record) === `*.${encloser}`);
  }
  return [];
}

function answer(record: DnsRecord, zone: DomainRecord): DnsAnswer {
  const { type, ttl, priority, port, weight, flags, tag } = record;
  const target = record.data === "@" ? record.domain : record.data;
  return {
    type: type as DnsAnswer["type"],
    ttl,
    data: type === "SOA" ? soaData(zone, ttl) : target,
    ...(priority !== null && { priority }),
    ...(port !== null && { port }),
    ...(weight !== null && { weight }),
    ...(flags !== null && { flags }),
    ...(tag !== null && { tag }),
  };
}
