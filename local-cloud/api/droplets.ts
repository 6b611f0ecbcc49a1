import type { FastifyInstance, FastifyRequest } from "fastify";
import { actionsOf, renderAction } from "./actions.ts";
import { type ApiContext, found, listRequest, numberParameter, origin, queryOf, readBody } from "./context.ts";
import { createDroplets } from "./create-droplet.ts";
import { act } from "./droplet-actions.ts";
import { startDestroy } from "./droplet-jobs.ts";
import { notFound } from "./errors.ts";
import { renderFirewall } from "./firewalls.ts";
import { paginate } from "./pages.ts";
import { removeFromProject } from "./projects.ts";
import type { ActionRecord, DropletRecord } from "./records.ts";
import { renderDroplet } from "./render-droplet.ts";
import type { Store } from "./store.ts";
import { shareTag } from "./tags.ts";

/** `/v2/droplets`. */
export function routeDroplets(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const show = (droplet: DropletRecord) => renderDroplet(store, droplet);

  app.get("/v2/droplets", (request) => {
    const { name, tag_name: tag, type } = queryOf(request);
    const droplets = visibleDroplets(store).filter(
      (droplet) => (!name || droplet.name === name) && (!tag || shareTag(droplet.tags, [tag])) && type !== "gpus",
    );
    return paginate(listRequest(request), "droplets", droplets, show);
  });
  app.post("/v2/droplets", async (request, reply) => {
    const body = readBody(context, request, "droplets_create");
    const made = await createDroplets(context, body);
    const actions = made.map(({ action }) => createLink(request, action));
    const droplets = made.map(({ droplet }) => show(droplet));
    const answer = body.names === undefined ? { droplet: droplets[0] } : { droplets };
    return reply.status(202).send({ ...answer, links: { actions } });
  });
  app.get("/v2/droplets/:id", (request) => ({ droplet: show(requestedDroplet(store, request)) }));
  app.delete("/v2/droplets/:id", async (request, reply) => {
    const droplet = await store.change(() => deleteDroplet(store, requestedDroplet(store, request)));
    startDestroy(context, droplet.id);
    return reply.status(204).send();
  });
  routeDropletActions(app, context);
  routeDropletLists(app, context);
}

function routeDropletActions(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  app.get("/v2/droplets/:id/actions", (request) => {
    const { id } = requestedDroplet(store, request);
    return paginate(listRequest(request), "actions", actionsOf(store, "droplet", id), renderAction);
  });
  app.post("/v2/droplets/:id/actions", async (request, reply) => {
    const body = readBody(context, request, "dropletActions_post");
    const action = await act(context, () => requestedDroplet(store, request), body);
    return reply.status(201).send({ action: renderAction(action) });
  });
  app.get("/v2/droplets/:id/actions/:action", (request) => {
    const { id } = requestedDroplet(store, request);
    const action = found(store.actions.get(numberParameter(request, "action")));
    if (action.resourceType !== "droplet" || action.resourceId !== id) throw notFound();
    return { action: renderAction(action) };
  });
}

function routeDropletLists(app: FastifyInstance, { store }: ApiContext): void {
  app.get("/v2/droplets/:id/firewalls", (request) => {
    const droplet = requestedDroplet(store, request);
    const firewalls = store.firewalls
      .all()
      .filter((firewall) => firewall.dropletIds.includes(droplet.id) || shareTag(firewall.tags, droplet.tags));
    return paginate(listRequest(request), "firewalls", firewalls, (firewall) => renderFirewall(store, firewall));
  });
  // Neither snapshots nor backups can be made here, so no droplet has any; all run on one machine, but none share hardware that fails apart.
  app.get("/v2/droplets/:id/snapshots", (request) => emptyList(store, request, "snapshots"));
  app.get("/v2/droplets/:id/backups", (request) => emptyList(store, request, "backups"));
  app.get("/v2/droplets/:id/neighbors", (request) => emptyList(store, request, "droplets"));
}

function emptyList(store: Store, request: FastifyRequest, name: string) {
  requestedDroplet(store, request);
  return paginate(listRequest(request), name, [], (item) => item);
}

/** Droplets that are not deleted. */
export function visibleDroplets(store: Store): DropletRecord[] {
  return store.droplets.all().filter((droplet) => !droplet.deleted);
}

function requestedDroplet(store: Store, request: FastifyRequest): DropletRecord {
  const droplet = found(store.droplets.get(numberParameter(request, "id")));
  if (droplet.deleted) throw notFound();
  return droplet;
}

function createLink(request: FastifyRequest, action: ActionRecord) {
  return { id: action.id, rel: "create", href: `${origin(request)}/v2/actions/${action.id}` };
}

/** From now on nobody sees it; its addresses and its place in the VPC are free once it has been taken down. */
function deleteDroplet(store: Store, droplet: DropletRecord): DropletRecord {
  for (const reserved of store.reservedIps.all().filter((one) => one.dropletId === droplet.id)) {
    store.reservedIps.put({ ...reserved, dropletId: null });
  }
  removeFromProject(store, `do:droplet:${droplet.id}`);
  return store.droplets.put({ ...droplet, deleted: true });
}
