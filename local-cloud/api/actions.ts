import type { FastifyInstance } from "fastify";
import { findRegion } from "./catalog.ts";
import { type ApiContext, found, listRequest, now, numberParameter } from "./context.ts";
import type { components } from "./openapi.d.ts";
import { paginate } from "./pages.ts";
import type { ActionRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** `GET /v2/actions` and `/v2/actions/{id}`. Finished actions are kept for ever. */
export function routeActions(app: FastifyInstance, { store }: ApiContext): void {
  app.get("/v2/actions", (request) =>
    paginate(listRequest(request), "actions", store.actions.all().reverse(), renderAction),
  );
  app.get("/v2/actions/:id", (request) => ({
    action: renderAction(found(store.actions.get(numberParameter(request, "id")))),
  }));
}

export type NewAction = Pick<ActionRecord, "type" | "resourceType" | "resourceId" | "region" | "reservedIp">;

/** Records an action that has begun. Inside a change. */
export function beginAction(store: Store, action: NewAction): ActionRecord {
  const id = store.next("action", 30001);
  return store.actions.put({ ...action, id, status: "in-progress", startedAt: now(), completedAt: null });
}

/** Records the end of an action; one that has ended already stays as it is. Inside a change. */
export function endAction(store: Store, id: number, status: "completed" | "errored"): ActionRecord | undefined {
  const action = store.actions.get(id);
  if (action === undefined || action.status !== "in-progress") return action;
  return store.actions.put({ ...action, status, completedAt: now() });
}

/** Records an action that took effect at once. Inside a change. */
export function completeAction(store: Store, action: NewAction): ActionRecord {
  const begun = beginAction(store, action);
  return endAction(store, begun.id, "completed") ?? begun;
}

/** The actions of one resource, newest first. */
export function actionsOf(store: Store, type: ActionRecord["resourceType"], id: number): ActionRecord[] {
  return store.actions
    .all()
    .filter((action) => action.resourceType === type && action.resourceId === id)
    .reverse();
}

/** An action as the API shows it. */
export function renderAction(action: ActionRecord): components["schemas"]["action"] {
  return {
    id: action.id,
    status: action.status,
    type: action.type,
    started_at: action.startedAt,
    completed_at: action.completedAt,
    resource_id: action.resourceId,
    resource_type: action.resourceType,
    region: findRegion(action.region),
    region_slug: action.region,
  };
}
