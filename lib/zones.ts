import { getDomain } from "tldts";
import { UserError } from "./user-error.ts";

/**
 * Sorts names into DNS zones: the longest of the given zones that a name is in, else its registrable domain
 * (`example.co.uk` for `www.example.co.uk`).
 * @returns names within each zone, `@` for the zone itself
 * @throws UserError for a name without a registrable domain
 */
export function groupByZone(names: readonly string[], zones: readonly string[]): Map<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const name of [...new Set(names)].sort()) {
    const zone = zoneOf(name, zones);
    const record = name === zone ? "@" : name.slice(0, -zone.length - 1);
    groups.set(zone, [...(groups.get(zone) ?? []), record]);
  }
  return groups;
}

function zoneOf(name: string, zones: readonly string[]): string {
  const fitting = zones
    .filter((zone) => name === zone || name.endsWith(`.${zone}`))
    .sort((a, b) => b.length - a.length);
  const zone = fitting[0] ?? getDomain(name.replace(/^\*\./, ""), { allowPrivateDomains: false });
  if (!zone)
    throw new UserError(`The domain ${name} belongs to no zone that one can own. Name its zone in "dnsZones".`);
  return zone;
}
