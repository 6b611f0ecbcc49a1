import type { DropletFirewall, ReservedAddress, ResolvedRule } from "../types.ts";
import { blockOf, formatBlock, parseBlock } from "./addresses.ts";

/** The router's end of a droplet's network interface. */
export interface RouterLink {
  readonly dropletId: number;
  /** 0 is eth0, public; 1 is eth1, in a VPC. */
  readonly index: 0 | 1;
  readonly address: string;
  readonly netmask: string;
}

/** A service of the laptop that droplets reach: they connect to `port` of the host address, it listens on `target` there. */
export interface HostService {
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  readonly target: number;
}

/** Everything that the router's rules depend on. */
export interface RouterState {
  readonly hostAddress: string;
  /** Port of the metadata service at the host address. */
  readonly metadataPort: number;
  readonly services: readonly HostService[];
  readonly links: readonly RouterLink[];
  readonly firewalls: readonly DropletFirewall[];
  readonly reserved: readonly ReservedAddress[];
}

/** Name of the router's link to the laptop, inside the router's namespace. */
export const uplink = "uplink";

/** Name of the router's end of a droplet's interface. */
export function linkName(dropletId: number, index: 0 | 1): string {
  return `d${dropletId}e${index}`;
}

/**
 * The router's whole ruleset, as one transaction for `nft -f -` that replaces what is there.
 *
 * Firewalls stand in the maps `outbound` and `inbound` by link name, so that they hold for a link from its first packet. A
 * connection that is established goes on whatever the rules are (as DigitalOcean does), hence the order in `forward`.
 * @throws Error for an address that is none: nothing unchecked gets into the text.
 */
export function renderRuleset(state: RouterState): string {
  const chains = state.firewalls.map((firewall) => firewallChains(firewall)).join("\n");
  return `table inet chillbox
delete table inet chillbox
table inet chillbox {
${setOrMap("set senders", "type ifname . ipv4_addr", state.links.map(sender))}
${setOrMap("set publics", "type ifname", state.links.filter((link) => link.index === 0).map(quotedName))}
${setOrMap("set privates", "type ifname", state.links.filter((link) => link.index === 1).map(quotedName))}
${chains}
${setOrMap("map outbound", "type ifname : verdict", firewallVerdicts(state.firewalls, "out"))}
${setOrMap("map inbound", "type ifname : verdict", firewallVerdicts(state.firewalls, "in"))}
  chain unspoofed {
    type filter hook prerouting priority raw; policy drop;
    iifname "lo" accept
    iifname "${uplink}" ip saddr ${address(state.hostAddress)} accept
    iifname @publics ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept
    iifname . ip saddr @senders accept
  }
  chain destination {
    type nat hook prerouting priority dstnat; policy accept;
    iifname @publics ip daddr 169.254.169.254 tcp dport 80 dnat ip to ${state.hostAddress}:${state.metadataPort}
${state.services.map((service) => serviceTranslation(state.hostAddress, service)).join("\n")}
${state.reserved.map((one) => `    ip daddr ${address(one.address)} dnat ip to ${address(one.dropletAddress)}`).join("\n")}
  }
  chain source {
    type nat hook postrouting priority srcnat; policy accept;
${state.reserved.map(hairpin).join("\n")}
  }
  chain input {
    type filter hook input priority filter; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ct state invalid drop
    iifname vmap @outbound
    iifname @publics udp dport { 53, 67 } accept
    iifname @publics tcp dport 53 accept
    meta l4proto icmp accept
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ct state invalid drop
    oifname "${uplink}" ip daddr ${state.hostAddress} tcp dport ${state.metadataPort} ct status dnat accept
    iifname vmap @outbound
    oifname vmap @inbound
    iifname @publics oifname "${uplink}" ip daddr ${state.hostAddress} jump services
    iifname { "${uplink}" } oifname @publics accept
    iifname @publics oifname @publics accept
${vpcBlocks(state.links).map(vpcRule).join("\n")}
    reject with icmpx admin-prohibited
  }
  chain services {
    meta l4proto icmp accept
${state.services.map((service) => `    ${service.protocol} dport ${service.target} ct status dnat accept`).join("\n")}
  }
}
`;
}

function setOrMap(head: string, type: string, elements: readonly string[]): string {
  const content = elements.length > 0 ? ` elements = { ${elements.join(", ")} };` : "";
  return `  ${head} { ${type};${content} }`;
}

function quotedName(link: RouterLink): string {
  return `"${linkName(link.dropletId, link.index)}"`;
}

function sender(link: RouterLink): string {
  return `${quotedName(link)} . ${address(link.address)}`;
}

/** Both links, whether they exist or not: a droplet that boots later is covered already. */
function firewallVerdicts(firewalls: readonly DropletFirewall[], direction: "in" | "out"): string[] {
  return firewalls.flatMap(({ dropletId }) =>
    ([0, 1] as const).map((index) => `"${linkName(dropletId, index)}" : jump ${direction}-${dropletId}`),
  );
}

function firewallChains(firewall: DropletFirewall): string {
  return [
    firewallChain(`in-${firewall.dropletId}`, firewall.inbound, "saddr"),
    firewallChain(`out-${firewall.dropletId}`, firewall.outbound, "daddr"),
  ].join("\n");
}

function firewallChain(name: string, rules: readonly ResolvedRule[], side: "saddr" | "daddr"): string {
  const lines = rules.flatMap((rule) => firewallRules(rule, side)).map((line) => `    ${line}`);
  return [`  chain ${name} {`, ...lines, "    drop", "  }"].join("\n");
}

/**
 * One rule an address: nft refuses overlapping blocks in one set. There is no IPv6 in droplets of custom images.
 * Outbound rules speak of what the droplet asked for, before the router translates it to a service of the laptop or to a
 * reserved address's droplet.
 */
function firewallRules(rule: ResolvedRule, side: "saddr" | "daddr"): string[] {
  const peer = side === "saddr" ? "ip saddr" : "ct original ip daddr";
  const port = side === "saddr" ? "th dport" : "ct original proto-dst";
  const ports = rule.ports && rule.protocol !== "icmp" ? ` ${port} ${portRange(rule.ports)}` : "";
  const match = `meta l4proto ${protocol(rule.protocol)}${ports}`;
  return rule.addresses
    .filter((text) => !text.includes(":"))
    .map((text) => (text === "0.0.0.0/0" ? `${match} return` : `${peer} ${address(text)} ${match} return`));
}

function serviceTranslation(hostAddress: string, service: HostService): string {
  return `    iifname @publics ip daddr ${hostAddress} ${service.protocol} dport ${service.port} dnat ip to ${hostAddress}:${service.target}`;
}

/** A droplet that speaks to its own reserved address: it must not see its own address as the sender. */
function hairpin(one: ReservedAddress): string {
  return `    ip saddr ${one.dropletAddress} ip daddr ${one.dropletAddress} ct status dnat snat ip to ${one.address}`;
}

function vpcBlocks(links: readonly RouterLink[]): string[] {
  const blocks = links
    .filter((link) => link.index === 1)
    .map((link) => blockOf(link.address, link.netmask))
    .map((block) => (block ? formatBlock(block) : undefined))
    .filter((block) => block !== undefined);
  return [...new Set(blocks)];
}

function vpcRule(block: string): string {
  return `    iifname @privates oifname @privates ip saddr ${block} ip daddr ${block} accept`;
}

function address(text: string): string {
  const block = parseBlock(text);
  if (!block) {
    throw new Error(`"${text}" is not an IPv4 address or block`);
  }
  return block.bits === 32 ? (text.split("/")[0] ?? text) : formatBlock(block);
}

function portRange({ from, to }: { readonly from: number; readonly to: number }): string {
  if (![from, to].every((port) => Number.isInteger(port) && port >= 0 && port <= 65535) || from > to) {
    throw new Error(`"${from}-${to}" is not a range of ports`);
  }
  return from === to ? `${from}` : `${from}-${to}`;
}

function protocol(name: string): string {
  if (name !== "tcp" && name !== "udp" && name !== "icmp") {
    throw new Error(`"${name}" is not a protocol`);
  }
  return name;
}
