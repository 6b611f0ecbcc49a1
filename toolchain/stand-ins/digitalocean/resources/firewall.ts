import type { CheckFailure } from "../../plugin/check.ts";
import type { ResourceKind } from "../../plugin/plugin.ts";
import { isObject, isUnknown, type Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";

/** A rule's fields for one direction: in the program, and in the API. */
const directions = {
  inboundRules: { side: "sources", prefix: "source" },
  outboundRules: { side: "destinations", prefix: "destination" },
} as const;

const targets = {
  Addresses: "addresses",
  DropletIds: "droplet_ids",
  Tags: "tags",
  LoadBalancerUids: "load_balancer_uids",
  KubernetesIds: "kubernetes_ids",
} as const;

type Direction = keyof typeof directions;

/** A cloud firewall. The plugin does not wait until its rules hold; the local cloud applies them before it answers. */
export function firewallKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      allowed: {
        "inboundRules[].protocol": ["tcp", "udp", "icmp"],
        "outboundRules[].protocol": ["tcp", "udp", "icmp"],
      },
      sets: ["inboundRules", "outboundRules", "dropletIds", "tags"],
      anyCase: ["tags"],
      volatile: ["status", "pendingChanges"],
    },
    check: firewallFaults,
    async create(inputs) {
      const { firewall } = await cloud.api.post("/v2/firewalls", requestBody(inputs));
      return { id: firewall.id, outputs: outputs((await cloud.api.get(`/v2/firewalls/${firewall.id}`)).firewall) };
    },
    async read(id) {
      const answer = await unlessMissing(cloud.api.get(`/v2/firewalls/${id}`));
      return answer && outputs(answer.firewall);
    },
    async update(id, _state, inputs) {
      await cloud.api.put(`/v2/firewalls/${id}`, requestBody(inputs));
      return outputs((await cloud.api.get(`/v2/firewalls/${id}`)).firewall);
    },
    async delete(id) {
      await cloud.api.delete(`/v2/firewalls/${id}`);
    },
  };
}

function firewallFaults(inputs: Properties): CheckFailure[] {
  const failures: CheckFailure[] = [];
  if (inputs.inboundRules === undefined && inputs.outboundRules === undefined) {
    failures.push({ property: "inboundRules", reason: "a firewall needs at least one rule, inbound or outbound" });
  }
  for (const direction of Object.keys(directions)) {
    const rules = inputs[direction];
    for (const [index, rule] of (Array.isArray(rules) ? rules : []).entries()) {
      if (isObject(rule) && rule.protocol !== "icmp" && !isUnknown(rule.protocol) && rule.portRange === undefined) {
        const reason = `a rule for ${rule.protocol} needs 'portRange': a port, a range like 8000-9000, or all`;
        failures.push({ property: `${direction}[${index}].portRange`, reason });
      }
    }
  }
  return failures;
}

function requestBody(inputs: Properties): Json {
  return {
    name: inputs.name,
    inbound_rules: requestRules(inputs, "inboundRules"),
    outbound_rules: requestRules(inputs, "outboundRules"),
    droplet_ids: inputs.dropletIds ?? null,
    tags: inputs.tags ?? [],
  };
}

function requestRules(inputs: Properties, direction: Direction): Json[] | null {
  const { side, prefix } = directions[direction];
  const rules = inputs[direction] as Properties[] | undefined;
  if (rules === undefined || rules.length === 0) {
    return null;
  }
  return rules.map((rule) => {
    const lists = Object.entries(targets).map(([suffix, field]) => [field, rule[prefix + suffix]] as const);
    return {
      protocol: rule.protocol,
      ...(rule.protocol === "icmp" ? {} : { ports: rule.portRange }),
      [side]: Object.fromEntries(lists.filter(([, list]) => Array.isArray(list) && list.length > 0)),
    };
  });
}

function outputs(firewall: Json): Properties {
  return {
    name: firewall.name,
    status: firewall.status,
    createdAt: firewall.created_at,
    dropletIds: firewall.droplet_ids ?? [],
    tags: firewall.tags ?? [],
    pendingChanges: (firewall.pending_changes ?? []).map((change: Json) => ({
      dropletId: change.droplet_id,
      removing: change.removing,
      status: change.status,
    })),
    inboundRules: readRules(firewall.inbound_rules, "inboundRules"),
    outboundRules: readRules(firewall.outbound_rules, "outboundRules"),
  };
}

function readRules(rules: Json[] | null, direction: Direction): Properties[] {
  const { side, prefix } = directions[direction];
  return (rules ?? []).map((rule) => {
    const lists = Object.entries(targets).map(([suffix, field]) => [prefix + suffix, rule[side][field]] as const);
    return {
      protocol: rule.protocol,
      // All ports are "0" in answers; so are the ports of ICMP, which has none.
      ...(rule.protocol === "icmp" ? {} : { portRange: rule.ports === "0" ? "all" : rule.ports }),
      ...Object.fromEntries(lists.filter(([, list]) => Array.isArray(list) && list.length > 0)),
    };
  });
}
