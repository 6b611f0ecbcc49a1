import { isIPv4 } from "node:net";

/** Something outside that the server may connect to, besides what every server needs. */
export interface Outbound {
  readonly protocol: "tcp" | "udp";
  /** A port or a range: `587`, `5000-5010`. */
  readonly ports: string;
  /** IPv4 address or CIDR block; without it, everywhere. */
  readonly address?: string;
}

/** What an entry of config's `outbound` looks like, for a person. */
export const outboundForm = 'ports to reach, such as "tcp/587" or "tcp/5432 198.51.100.7/32" (IPv4 alone)';

/**
 * Reads an entry of config's `outbound`: `<tcp|udp>/<port or range>`, then perhaps a blank and an IPv4 address or CIDR block.
 * @returns undefined when it is no such text
 */
export function parseOutbound(text: string): Outbound | undefined {
  const match = /^(tcp|udp)\/(\d{1,5})(?:-(\d{1,5}))?(?: (\S+))?$/.exec(text);
  if (!match) return undefined;
  const [, protocol, first = "", last = first, address] = match;
  const [low, high] = [Number(first), Number(last)];
  if (low < 1 || high > 65_535 || low > high) return undefined;
  if (address !== undefined && !isBlock(address)) return undefined;
  const ports = low === high ? String(low) : `${low}-${high}`;
  return { protocol: protocol as "tcp" | "udp", ports, ...(address === undefined ? {} : { address }) };
}

function isBlock(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  return (
    isIPv4(address) && rest.length === 0 && (prefix === undefined || (/^\d{1,2}$/.test(prefix) && Number(prefix) <= 32))
  );
}
