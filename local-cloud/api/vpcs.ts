import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Block, contains, formatBlock, freeBlock, overlap, parseBlock, toNumber } from "./addresses.ts";
import { findRegion } from "./catalog.ts";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  parameter,
  queryOf,
  readBody,
  requiredText,
  textOf,
} from "./context.ts";
import { ApiError, unprocessable } from "./errors.ts";
import type { components } from "./openapi.d.ts";
import { paginate } from "./pages.ts";
import type { VpcRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** `/v2/vpcs`. */
export function routeVpcs(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(store.vpcs.get(parameter(request, "id")));

  app.get("/v2/vpcs", (request) => paginate(listRequest(request), "vpcs", store.vpcs.all(), render));
  app.post("/v2/vpcs", async (request, reply) => {
    const body = readBody(context, request, "vpcs_create");
    const vpc = await store.change(() => createVpc(context, body));
    return reply.status(201).send({ vpc: render(vpc) });
  });
  app.get("/v2/vpcs/:id", (request) => ({ vpc: render(requested(request)) }));
  app.put("/v2/vpcs/:id", async (request) => {
    const body = readBody(context, request, "vpcs_update");
    return { vpc: render(await store.change(() => updateVpc(store, requested(request), body))) };
  });
  app.patch("/v2/vpcs/:id", async (request) => {
    const body = readBody(context, request, "vpcs_patch");
    return { vpc: render(await store.change(() => updateVpc(store, requested(request), body))) };
  });
  app.delete("/v2/vpcs/:id", async (request, reply) => {
    await store.change(() => deleteVpc(store, requested(request)));
    return reply.status(204).send();
  });
  app.get("/v2/vpcs/:id/members", (request) => {
    const { id } = requested(request);
    const { resource_type: type } = queryOf(request);
    const members = store.droplets.all().filter((droplet) => droplet.vpcId === id && !droplet.deleted);
    return paginate(
      listRequest(request),
      "members",
      type === undefined || type === "droplet" ? members : [],
      (one) => ({
        urn: `do:droplet:${one.id}`,
        name: one.name,
        created_at: one.createdAt,
      }),
    );
  });
}

/** The region's VPC for droplets that name none, made when it is missing. Inside a change. */
export function defaultVpc(context: ApiContext, region: string): VpcRecord {
  const { store } = context;
  const existing = store.vpcs.all().find((vpc) => vpc.region === region && vpc.isDefault);
  if (existing !== undefined) return existing;
  const names = new Set(store.vpcs.all().map((vpc) => vpc.name));
  let name = `default-${region}`;
  while (names.has(name)) name += "-1";
  return makeVpc(context, { name, region, description: "", isDefault: true }, "");
}

function createVpc(context: ApiContext, body: Body): VpcRecord {
  const name = requiredText(body, "name");
  const region = findRegion(body.region).slug;
  if (context.store.vpcs.all().some((vpc) => vpc.name === name)) {
    throw unprocessable("a VPC with the same name already exists in your account");
  }
  const description = textOf(body, "description");
  return makeVpc(context, { name, region, description, isDefault: false }, textOf(body, "ip_range"));
}

function makeVpc(
  context: ApiContext,
  fields: Pick<VpcRecord, "name" | "region" | "description" | "isDefault">,
  ipRange: string,
): VpcRecord {
  const range = ipRange === "" ? chooseRange(context) : checkRange(context, ipRange);
  return context.store.vpcs.put({ ...fields, id: randomUUID(), ipRange: formatBlock(range), createdAt: now() });
}

function chooseRange(context: ApiContext): Block {
  const range = freeBlock(vpcBlock(context), 24, takenRanges(context));
  if (range === undefined) throw unprocessable("no free range is left for a VPC: delete one that is not used");
  return range;
}

/** The local router serves one range only, so ranges that DigitalOcean would take are refused, and said to be. */
function checkRange(context: ApiContext, ipRange: string): Block {
  const range = parseBlock(ipRange);
  if (range === undefined) throw unprocessable("ip_range is not a valid CIDR block");
  if (range.prefix < 16 || range.prefix > 28) throw unprocessable("ip_range must have a prefix between /16 and /28");
  if (!contains(vpcBlock(context), range)) {
    throw unprocessable(
      `ip_range ${ipRange} cannot be used here: the local DigitalOcean routes VPCs inside ${context.network.vpcBlock} only. Leave ip_range out to be given a range.`,
    );
  }
  if (takenRanges(context).some((other) => overlap(range, other))) {
    throw unprocessable("This range/size overlaps with another VPC network in your account");
  }
  return range;
}

function vpcBlock({ network }: ApiContext): Block {
  const block = parseBlock(network.vpcBlock);
  if (block === undefined) throw new Error(`the network's VPC block ${network.vpcBlock} is not a CIDR block`);
  return block;
}

/** Ranges of the other VPCs, and the laptop's own address, which may lie in the block. */
function takenRanges({ store, network }: ApiContext): Block[] {
  const host = toNumber(network.hostAddress);
  const vpcs = store.vpcs.all().flatMap((vpc) => parseBlock(vpc.ipRange) ?? []);
  return [...vpcs, { first: host, last: host, prefix: 32 }];
}

function updateVpc(store: Store, vpc: VpcRecord, body: Body): VpcRecord {
  const name = body.name === undefined ? vpc.name : requiredText(body, "name");
  if (store.vpcs.all().some((other) => other.name === name && other.id !== vpc.id)) {
    throw unprocessable("a VPC with the same name already exists in your account");
  }
  const description = body.description === undefined ? vpc.description : textOf(body, "description");
  const isDefault = vpc.isDefault || body.default === true;
  if (isDefault && !vpc.isDefault) {
    for (const other of store.vpcs.all().filter((one) => one.region === vpc.region && one.isDefault)) {
      store.vpcs.put({ ...other, isDefault: false });
    }
  }
  return store.vpcs.put({ ...vpc, name, description, isDefault });
}

/** Droplets that are being taken down still belong to it: clients ask again after a 403. */
function deleteVpc(store: Store, vpc: VpcRecord): void {
  if (store.droplets.all().some((droplet) => droplet.vpcId === vpc.id)) {
    throw new ApiError(403, "forbidden", "Can not delete VPC with members");
  }
  if (vpc.isDefault) throw new ApiError(403, "forbidden", "Can not delete default VPCs");
  store.vpcs.delete(vpc.id);
}

function render(vpc: VpcRecord): components["schemas"]["vpc"] {
  return {
    id: vpc.id,
    urn: `do:vpc:${vpc.id}`,
    name: vpc.name,
    description: vpc.description,
    region: vpc.region,
    ip_range: vpc.ipRange,
    created_at: vpc.createdAt,
    default: vpc.isDefault,
  };
}
