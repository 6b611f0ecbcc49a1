import type { DnsAnswer, Zones } from "../types.ts";

const maxAliases = 8;

/** What a name leads to: its CNAMEs in order, and the records of the wanted type at the end. */
export interface Resolution {
  readonly aliases: readonly { readonly name: string; readonly answer: DnsAnswer }[];
  /** The name that the last CNAME points to, or the name asked for. */
  readonly name: string;
  readonly answers: readonly DnsAnswer[];
}

/** Looks `type` up in the zones, following CNAMEs as far as the zones know them (8 at most). */
export function resolve(zones: Zones, name: string, type: DnsAnswer["type"]): Resolution {
  const aliases: { name: string; answer: DnsAnswer }[] = [];
  let current = withoutDot(name);
  while (zones.holds(current)) {
    const found = zones.lookup(current);
    const answers = found.filter((answer) => answer.type === type);
    const alias = found.find((answer) => answer.type === "CNAME");
    if (answers.length > 0 || alias === undefined || aliases.length === maxAliases)
      return { aliases, name: current, answers };
    aliases.push({ name: current, answer: alias });
    current = withoutDot(alias.data);
  }
  return { aliases, name: current, answers: [] };
}

/** Lower case, no dot at the end. */
export function withoutDot(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}
