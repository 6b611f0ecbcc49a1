import type { DropletFirewall, ResolvedRule } from "../types.ts";
import type { DropletRecord, FirewallRecord, FirewallRule } from "./records.ts";
import { shareTag } from "./tags.ts";

/**
 * What the firewalls mean for each droplet: tags and droplet ids turned into addresses, the union of all firewalls that reach the
 * droplet. Droplets that no firewall reaches are left out: they are open. A rule that reaches no address is left out too.
 * @param droplets also those being taken down: they stay behind their firewall until they are gone.
 */
export function resolveFirewalls(
  firewalls: readonly FirewallRecord[],
  droplets: readonly DropletRecord[],
): DropletFirewall[] {
  const resolve = (rules: readonly FirewallRule[]) => rules.flatMap((rule) => resolveRule(rule, droplets));
  return droplets.flatMap((droplet) => {
    const reaching = firewalls.filter(
      (firewall) => firewall.dropletIds.includes(droplet.id) || shareTag(firewall.tags, droplet.tags),
    );
    if (reaching.length === 0) return [];
    return {
      dropletId: droplet.id,
      inbound: reaching.flatMap((firewall) => resolve(firewall.inbound)),
      outbound: reaching.flatMap((firewall) => resolve(firewall.outbound)),
    };
  });
}

function resolveRule(rule: FirewallRule, droplets: readonly DropletRecord[]): ResolvedRule[] {
  const { addresses = [], droplet_ids: ids = [], tags = [] } = rule.targets;
  const named = droplets.filter((droplet) => ids.includes(droplet.id) || shareTag(tags, droplet.tags));
  const all = [...addresses, ...named.flatMap((one) => [one.publicNic.address, one.privateNic.address])];
  if (all.length === 0) return [];
  const unique = [...new Set(all)];
  if (rule.protocol === "icmp" || rule.ports === "0") return [{ protocol: rule.protocol, addresses: unique }];
  const [from = 0, to = from] = rule.ports.split("-").map(Number);
  return [{ protocol: rule.protocol, ports: { from, to }, addresses: unique }];
}
