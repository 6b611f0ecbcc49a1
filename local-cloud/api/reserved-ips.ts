import type { FastifyInstance, FastifyRequest } from "fastify";
import { completeAction, renderAction } from "./actions.ts";
import { findRegion } from "./catalog.ts";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  numberParameter,
  parameter,
  readBody,
  requiredText,
  textOf,
} from "./context.ts";
import { choosePublicAddress } from "./create-droplet.ts";
import { notFound, notImplemented, unprocessable } from "./errors.ts";
import { paginate } from "./pages.ts";
import { addToProject, defaultProject, removeFromProject } from "./projects.ts";
import type { ActionRecord, DropletRecord, ReservedIpRecord } from "./records.ts";
import { renderDroplet } from "./render-droplet.ts";
import type { Store } from "./store.ts";

/** `/v2/reserved_ips`. Assignments hold in the network before they are answered (see `keepNetwork`). */
export function routeReservedIps(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(store.reservedIps.get(parameter(request, "ip")));
  const show = (reserved: ReservedIpRecord) => render(store, reserved);

  app.get("/v2/reserved_ips", (request) =>
    paginate(listRequest(request), "reserved_ips", store.reservedIps.all(), show),
  );
  app.post("/v2/reserved_ips", async (request, reply) => {
    const body = readBody(context, request, "reservedIPs_create");
    const reserved = await store.change(() => create(context, body));
    return reply.status(202).send({ reserved_ip: show(reserved), links: {} });
  });
  app.get("/v2/reserved_ips/:ip", (request) => ({ reserved_ip: show(requested(request)) }));
  app.delete("/v2/reserved_ips/:ip", async (request, reply) => {
    await store.change(() => {
      const { id } = requested(request);
      removeFromProject(store, `do:floatingip:${id}`);
      store.reservedIps.delete(id);
    });
    return reply.status(204).send();
  });
  app.get("/v2/reserved_ips/:ip/actions", (request) => {
    const { id } = requested(request);
    const actions = store.actions.all().filter((action) => action.reservedIp === id);
    return paginate(listRequest(request), "actions", actions.reverse(), (one) => renderIpAction(store, one));
  });
  app.post("/v2/reserved_ips/:ip/actions", async (request, reply) => {
    const body = readBody(context, request, "reservedIPsActions_post");
    const action = await store.change(() => act(store, requested(request), body));
    return reply.status(201).send({ action: renderIpAction(store, action) });
  });
  app.get("/v2/reserved_ips/:ip/actions/:action", (request) => {
    const { id } = requested(request);
    const action = found(store.actions.get(numberParameter(request, "action")));
    if (action.reservedIp !== id) throw notFound();
    return { action: renderIpAction(store, action) };
  });
}

function create(context: ApiContext, body: Body): ReservedIpRecord {
  const { store } = context;
  const droplet = body.droplet_id === undefined ? undefined : freeDroplet(store, body.droplet_id);
  const region = droplet?.region ?? findRegion(body.region).slug;
  const projectId = textOf(body, "project_id");
  if (projectId !== "" && store.projects.get(projectId) === undefined) throw unprocessable("project does not exist");
  const id = choosePublicAddress(context);
  addToProject(store, `do:floatingip:${id}`, projectId || defaultProject(store).id);
  return store.reservedIps.put({ id, region, dropletId: droplet?.id ?? null });
}

function act(store: Store, reserved: ReservedIpRecord, body: Body): ActionRecord {
  const type = requiredText(body, "type");
  if (type === "assign") {
    const droplet = freeDroplet(store, body.droplet_id, reserved.id);
    if (droplet.region !== reserved.region)
      throw unprocessable("The Droplet is in another region than the reserved IP");
    store.reservedIps.put({ ...reserved, dropletId: droplet.id });
  } else if (type === "unassign") {
    if (reserved.dropletId === null) throw unprocessable("The reserved IP is not assigned to a Droplet");
    store.reservedIps.put({ ...reserved, dropletId: null });
  } else {
    throw notImplemented(`the reserved IP action ${type}`);
  }
  return completeAction(store, {
    type: type === "assign" ? "assign_ip" : "unassign_ip",
    resourceType: "reserved_ip",
    resourceId: null,
    region: reserved.region,
    reservedIp: reserved.id,
  });
}

/** A droplet that has no other reserved IP: one is all it can have. */
function freeDroplet(store: Store, id: unknown, except?: string): DropletRecord {
  const droplet = typeof id === "number" ? store.droplets.get(id) : undefined;
  if (droplet === undefined || droplet.deleted) throw unprocessable("The Droplet could not be found");
  if (store.reservedIps.all().some((other) => other.dropletId === id && other.id !== except)) {
    throw unprocessable("The Droplet already has a reserved IP");
  }
  return droplet;
}

function render(store: Store, reserved: ReservedIpRecord) {
  const droplet = reserved.dropletId === null ? undefined : store.droplets.get(reserved.dropletId);
  return {
    ip: reserved.id,
    region: findRegion(reserved.region),
    droplet: droplet === undefined ? null : renderDroplet(store, droplet),
    locked: false,
    project_id: projectOf(store, reserved.id),
  };
}

function renderIpAction(store: Store, action: ActionRecord) {
  return { ...renderAction(action), project_id: projectOf(store, action.reservedIp ?? "") };
}

function projectOf(store: Store, address: string): string {
  return store.projectResources.get(`do:floatingip:${address}`)?.projectId ?? defaultProject(store).id;
}
