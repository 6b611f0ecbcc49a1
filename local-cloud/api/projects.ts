import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  origin,
  parameter,
  readBody,
  requiredText,
  textOf,
  textsOf,
} from "./context.ts";
import { ApiError, unprocessable } from "./errors.ts";
import { paginate } from "./pages.ts";
import type { ProjectRecord, ProjectResourceRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** `/v2/projects`. `default` stands for the id of the default project, which always exists. */
export function routeProjects(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => {
    const id = parameter(request, "id");
    return id === "default" ? defaultProject(store) : found(store.projects.get(id));
  };
  const show = (project: ProjectRecord) => ({ project: renderProject(project) });

  app.get("/v2/projects", (request) => paginate(listRequest(request), "projects", store.projects.all(), renderProject));
  app.post("/v2/projects", async (request, reply) => {
    const body = readBody(context, request, "projects_create");
    return reply.status(201).send(show(await store.change(() => createProject(store, body))));
  });
  app.get("/v2/projects/:id", (request) => show(requested(request)));
  app.put("/v2/projects/:id", async (request) => {
    const body = readBody(context, request, "projects_patch");
    return show(await store.change(() => updateProject(store, requested(request), body)));
  });
  app.patch("/v2/projects/:id", async (request) => {
    const body = readBody(context, request, "projects_patch");
    return show(await store.change(() => updateProject(store, requested(request), body)));
  });
  app.delete("/v2/projects/:id", async (request, reply) => {
    await store.change(() => deleteProject(store, requested(request)));
    return reply.status(204).send();
  });
  app.get("/v2/projects/:id/resources", (request) => {
    const { id } = requested(request);
    const resources = store.projectResources.all().filter((resource) => resource.projectId === id);
    return paginate(listRequest(request), "resources", resources, (one) => renderResource(request, one, "ok"));
  });
  app.post("/v2/projects/:id/resources", async (request) => {
    const body = readBody(context, request, "projects_assign_resources");
    if (body.resources === undefined) throw unprocessable("resources is missing");
    const resources = await store.change(() => {
      const { id } = requested(request);
      return textsOf(body, "resources").map((urn) => assign(store, urn, id));
    });
    return { resources: resources.map(({ resource, status }) => renderResource(request, resource, status)) };
  });
}

/** The default project, made when it is missing: inside a change, or after `ensureDefaultProject`. */
export function defaultProject(store: Store): ProjectRecord {
  return (
    store.projects.all().find((project) => project.isDefault) ??
    store.projects.put({
      id: randomUUID(),
      name: "chillbox",
      description: "",
      purpose: "Web Application",
      environment: "Development",
      isDefault: true,
      createdAt: now(),
      updatedAt: now(),
    })
  );
}

/** Makes the account's default project if there is none. */
export async function ensureDefaultProject(store: Store): Promise<void> {
  await store.change(() => defaultProject(store));
}

/** Puts a new resource into a project, the default one unless told. Inside a change. */
export function addToProject(store: Store, urn: string, projectId: string = defaultProject(store).id): void {
  store.projectResources.put({ id: urn, projectId, assignedAt: now() });
}

/** Forgets a resource that was deleted. Inside a change. */
export function removeFromProject(store: Store, urn: string): void {
  store.projectResources.delete(urn);
}

function createProject(store: Store, body: Body): ProjectRecord {
  const name = requiredText(body, "name");
  refuseDoubleName(store, name);
  return store.projects.put({
    id: randomUUID(),
    name,
    description: textOf(body, "description"),
    purpose: readPurpose(requiredText(body, "purpose")),
    environment: textOf(body, "environment"),
    isDefault: false,
    createdAt: now(),
    updatedAt: now(),
  });
}

/** Fields that are missing or null stay as they are. */
function updateProject(store: Store, project: ProjectRecord, body: Body): ProjectRecord {
  const changed = (key: "name" | "description" | "purpose" | "environment") =>
    body[key] === undefined || body[key] === null ? project[key] : textOf(body, key);
  const name = changed("name");
  if (name.trim() === "") throw unprocessable("Name can't be blank");
  refuseDoubleName(store, name, project.id);
  const isDefault = project.isDefault || body.is_default === true;
  if (isDefault && !project.isDefault) store.projects.put({ ...defaultProject(store), isDefault: false });
  return store.projects.put({
    ...project,
    name,
    description: changed("description"),
    purpose: readPurpose(changed("purpose")),
    environment: changed("environment"),
    isDefault,
    updatedAt: now(),
  });
}

function refuseDoubleName(store: Store, name: string, except?: string): void {
  if (store.projects.all().some((other) => other.name === name && other.id !== except)) {
    throw new ApiError(409, "conflict", "name is already in use");
  }
}

/** `Other: x` is kept as `x`. */
function readPurpose(purpose: string): string {
  return purpose.replace(/^Other: ?(?=.)/, "");
}

function deleteProject(store: Store, project: ProjectRecord): void {
  const refuse = (message: string) => new ApiError(412, "precondition_failed", message);
  if (project.isDefault) throw refuse("cannot delete the default project");
  if (store.projectResources.all().some((resource) => resource.projectId === project.id)) {
    throw refuse("cannot delete a project with resources");
  }
  store.projects.delete(project.id);
}

type AssignStatus = "assigned" | "already_assigned" | "not_found";

function assign(
  store: Store,
  urn: string,
  projectId: string,
): { resource: ProjectResourceRecord; status: AssignStatus } {
  const existing = store.projectResources.get(urn);
  if (existing?.projectId === projectId) return { resource: existing, status: "already_assigned" };
  const resource = { id: urn, projectId, assignedAt: now() };
  if (!exists(store, urn)) return { resource, status: "not_found" };
  return { resource: store.projectResources.put(resource), status: "assigned" };
}

/** Buckets are another program's matter: their names are believed. */
function exists(store: Store, urn: string): boolean {
  const [, kind = "", id = ""] = /^do:([a-z]+):(.*)$/s.exec(urn) ?? [];
  if (kind === "space") return /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(id);
  if (kind === "droplet") return store.droplets.get(Number(id))?.deleted === false;
  if (kind === "domain") return store.domains.get(id) !== undefined;
  if (kind === "vpc") return store.vpcs.get(id) !== undefined;
  if (kind === "floatingip") return store.reservedIps.get(id) !== undefined;
  return false;
}

const resourcePaths: Readonly<Record<string, string>> = {
  droplet: "droplets",
  domain: "domains",
  vpc: "vpcs",
  floatingip: "reserved_ips",
};

function renderResource(request: FastifyRequest, resource: ProjectResourceRecord, status: AssignStatus | "ok") {
  const [, kind = "", id = ""] = resource.id.split(":");
  const path = resourcePaths[kind];
  const self = path === undefined ? `https://${id}.digitaloceanspaces.com` : `${origin(request)}/v2/${path}/${id}`;
  return { urn: resource.id, assigned_at: resource.assignedAt, links: { self }, status };
}

function renderProject(project: ProjectRecord) {
  return {
    id: project.id,
    owner_uuid: "00000000-0000-4000-8000-000000000001",
    owner_id: 1,
    name: project.name,
    description: project.description,
    purpose: project.purpose,
    environment: project.environment,
    is_default: project.isDefault,
    created_at: project.createdAt,
    updated_at: project.updatedAt,
  };
}
