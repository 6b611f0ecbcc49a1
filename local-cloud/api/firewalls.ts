import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { isAddressOrBlock } from "./addresses.ts";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  numbersOf,
  objectsOf,
  parameter,
  readBody,
  requiredText,
  textOf,
  textsOf,
} from "./context.ts";
import { unprocessable } from "./errors.ts";
import type { components } from "./openapi.d.ts";
import { paginate } from "./pages.ts";
import type { FirewallRecord, FirewallRule, RuleTargets } from "./records.ts";
import type { Store } from "./store.ts";
import { findTag } from "./tags.ts";

const limits = { droplets: 10, tags: 5, rules: 50, targets: 1000 };

/** `/v2/firewalls`. A change holds in the network before it is answered (see `keepNetwork`). */
export function routeFirewalls(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(store.firewalls.get(parameter(request, "id")));
  const show = (firewall: FirewallRecord) => renderFirewall(store, firewall);

  app.get("/v2/firewalls", (request) => paginate(listRequest(request), "firewalls", store.firewalls.all(), show));
  app.post("/v2/firewalls", async (request, reply) => {
    const body = readBody(context, request, "firewalls_create");
    const firewall = await store.change(() => {
      const fields = readFirewall(store, body);
      refuseDoubleName(store, fields.name);
      return store.firewalls.put({ ...fields, id: randomUUID(), createdAt: now() });
    });
    return reply.status(202).send({ firewall: show(firewall) });
  });
  app.get("/v2/firewalls/:id", (request) => ({ firewall: show(requested(request)) }));
  app.put("/v2/firewalls/:id", async (request) => {
    const body = readBody(context, request, "firewalls_update");
    const firewall = await store.change(() => {
      const { id, createdAt } = requested(request);
      const fields = readFirewall(store, body);
      refuseDoubleName(store, fields.name, id);
      return store.firewalls.put({ ...fields, id, createdAt });
    });
    return { firewall: show(firewall) };
  });
  app.delete("/v2/firewalls/:id", async (request, reply) => {
    await store.change(() => store.firewalls.delete(requested(request).id));
    return reply.status(204).send();
  });
  routeParts(app, context, requested);
}

/** Droplets, tags and rules are added to and taken from a firewall by calls of their own. */
function routeParts(
  app: FastifyInstance,
  context: ApiContext,
  requested: (request: FastifyRequest) => FirewallRecord,
): void {
  const { store } = context;
  type Change = (firewall: FirewallRecord, body: Body) => FirewallRecord;
  const route = (method: "POST" | "DELETE", part: string, operation: string, change: Change) =>
    app.route({
      method,
      url: `/v2/firewalls/:id/${part}`,
      handler: async (request, reply) => {
        const body = readBody(context, request, operation);
        await store.change(() => store.firewalls.put(checkLimits(change(requested(request), body))));
        return reply.status(204).send();
      },
    });

  route("POST", "droplets", "firewalls_assign_droplets", (firewall, body) => ({
    ...firewall,
    dropletIds: [...new Set([...firewall.dropletIds, ...readDroplets(store, body)])],
  }));
  route("DELETE", "droplets", "firewalls_delete_droplets", (firewall, body) => {
    const removed = numbersOf(body, "droplet_ids");
    return { ...firewall, dropletIds: firewall.dropletIds.filter((id) => !removed.includes(id)) };
  });
  route("POST", "tags", "firewalls_add_tags", (firewall, body) => ({
    ...firewall,
    tags: [...new Set([...firewall.tags, ...readTags(store, body)])],
  }));
  route("DELETE", "tags", "firewalls_delete_tags", (firewall, body) => {
    const removed = textsOf(body, "tags").map((tag) => tag.toLowerCase());
    return { ...firewall, tags: firewall.tags.filter((tag) => !removed.includes(tag.toLowerCase())) };
  });
  route("POST", "rules", "firewalls_add_rules", (firewall, body) => ({
    ...firewall,
    inbound: [...firewall.inbound, ...readRules(store, body, "inbound_rules", "sources")],
    outbound: [...firewall.outbound, ...readRules(store, body, "outbound_rules", "destinations")],
  }));
  route("DELETE", "rules", "firewalls_delete_rules", (firewall, body) => {
    const keep = (rules: readonly FirewallRule[], removed: readonly FirewallRule[]) =>
      rules.filter((rule) => !removed.some((other) => isDeepStrictEqual(rule, other)));
    return {
      ...firewall,
      inbound: keep(firewall.inbound, readRules(store, body, "inbound_rules", "sources")),
      outbound: keep(firewall.outbound, readRules(store, body, "outbound_rules", "destinations")),
    };
  });
}

function readFirewall(store: Store, body: Body): Omit<FirewallRecord, "id" | "createdAt"> {
  const fields = {
    name: requiredText(body, "name"),
    dropletIds: [...new Set(readDroplets(store, body))],
    tags: [...new Set(readTags(store, body))],
    inbound: readRules(store, body, "inbound_rules", "sources"),
    outbound: readRules(store, body, "outbound_rules", "destinations"),
  };
  if (fields.inbound.length + fields.outbound.length === 0) {
    throw unprocessable("a firewall must have at least one rule");
  }
  return checkLimits(fields);
}

function refuseDoubleName(store: Store, name: string, except?: string): void {
  if (store.firewalls.all().some((other) => other.name === name && other.id !== except)) {
    throw unprocessable("duplicate name");
  }
}

function checkLimits<T extends Omit<FirewallRecord, "id" | "createdAt">>(firewall: T): T {
  const { dropletIds, tags, inbound, outbound } = firewall;
  const refuse = (count: number, limit: number, what: string) => {
    if (count > limit)
      throw unprocessable(`a firewall can have at most ${limit} ${what}, this one would have ${count}`);
  };
  refuse(dropletIds.length, limits.droplets, "droplets");
  refuse(tags.length, limits.tags, "tags");
  refuse(inbound.length + outbound.length, limits.rules, "rules");
  return firewall;
}

function readDroplets(store: Store, body: Body): number[] {
  const ids = numbersOf(body, "droplet_ids");
  for (const id of ids) {
    if (store.droplets.get(id)?.deleted !== false) throw unprocessable(`droplet ${id} does not exist`);
  }
  return ids;
}

/** Unlike those of droplets, a firewall's tags must exist. */
function readTags(store: Store, body: Body): string[] {
  return textsOf(body, "tags").map((name) => {
    const tag = findTag(store, name);
    if (tag === undefined) throw unprocessable(`tag "${name}" does not exist`);
    return tag.name;
  });
}

function readRules(store: Store, body: Body, list: string, targetsKey: string): FirewallRule[] {
  return objectsOf(body, list).map((rule, index) => {
    const where = `${list}[${index}]`;
    const protocol = textOf(rule, "protocol");
    if (protocol !== "tcp" && protocol !== "udp" && protocol !== "icmp") {
      throw unprocessable(`${where}: protocol must be tcp, udp or icmp`);
    }
    const targets = rule[targetsKey];
    if (typeof targets !== "object" || targets === null) throw unprocessable(`${where}: ${targetsKey} is missing`);
    const ports = protocol === "icmp" ? "0" : readPorts(textOf(rule, "ports"), where);
    return { protocol, ports, targets: readTargets(store, targets as Body, `${where}.${targetsKey}`) };
  });
}

/** `0`, `all` and nothing mean all ports and are given back as `0`. */
function readPorts(text: string, where: string): string {
  if (text === "" || text === "0" || text === "all") return "0";
  const [, from, to = from] = /^([0-9]{1,5})(?:-([0-9]{1,5}))?$/.exec(text) ?? [];
  if (from === undefined || Number(from) < 1 || Number(to) > 65535 || Number(from) > Number(to)) {
    throw unprocessable(`${where}: ports must be a port, a range like 8000-9000, or all`);
  }
  return text;
}

function readTargets(store: Store, targets: Body, where: string): RuleTargets {
  const addresses = textsOf(targets, "addresses");
  const dropletIds = readDroplets(store, targets);
  const tags = readTags(store, targets);
  const strange = addresses.find((address) => !isAddressOrBlock(address));
  if (strange !== undefined) throw unprocessable(`${where}: "${strange}" is neither an address nor a CIDR block`);
  if (textsOf(targets, "load_balancer_uids").length + textsOf(targets, "kubernetes_ids").length > 0) {
    throw unprocessable(`${where}: there are no load balancers or clusters in the local DigitalOcean`);
  }
  const sizes = [addresses.length, dropletIds.length, tags.length];
  if (Math.max(...sizes) > limits.targets) throw unprocessable(`${where}: at most ${limits.targets} of each kind`);
  if (Math.max(...sizes) === 0) throw unprocessable(`${where}: at least one address, droplet or tag is needed`);
  // Empty lists are left out: so clients get them back.
  return {
    ...(addresses.length > 0 && { addresses }),
    ...(dropletIds.length > 0 && { droplet_ids: dropletIds }),
    ...(tags.length > 0 && { tags }),
  };
}

/** A firewall as the API tells of it. */
export function renderFirewall(store: Store, firewall: FirewallRecord): components["schemas"]["firewall"] {
  const copy = ({ addresses, droplet_ids: ids, tags }: RuleTargets) => ({
    ...(addresses && { addresses: [...addresses] }),
    ...(ids && { droplet_ids: [...ids] }),
    ...(tags && { tags: [...tags] }),
  });
  return {
    id: firewall.id,
    name: firewall.name,
    status: "succeeded",
    created_at: firewall.createdAt,
    pending_changes: [],
    droplet_ids: firewall.dropletIds.filter((id) => store.droplets.get(id)?.deleted === false),
    tags: [...firewall.tags],
    inbound_rules: firewall.inbound.map(({ protocol, ports, targets }) => ({
      protocol,
      ports,
      sources: copy(targets),
    })),
    outbound_rules: firewall.outbound.map(({ protocol, ports, targets }) => ({
      protocol,
      ports,
      destinations: copy(targets),
    })),
  };
}
