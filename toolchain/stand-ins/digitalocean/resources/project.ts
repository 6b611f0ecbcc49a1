import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import { type Api, ApiError, type Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing, waitFor } from "../wait.ts";

/** A project: a folder of resources in the control panel. */
export function projectKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      defaults: { purpose: "Web Application", isDefault: false },
      allowed: { environment: ["Development", "Staging", "Production"] },
      sets: ["resources"],
      computed: ["resources"],
      volatile: ["updatedAt"],
    },
    async create(inputs) {
      const { name, description = "", purpose, environment = "" } = inputs;
      const { project } = await cloud.api.post("/v2/projects", { name, description, purpose, environment });
      const wanted = (inputs.resources as string[] | undefined) ?? [];
      if (wanted.length > 0) {
        try {
          await assign(cloud.api, project.id, wanted);
        } catch (error) {
          await cloud.api.delete(`/v2/projects/${project.id}`);
          throw error;
        }
      }
      if (inputs.isDefault === true) {
        await cloud.api.patch(`/v2/projects/${project.id}`, { is_default: true });
      }
      return { id: project.id, outputs: await readProject(cloud.api, project.id) };
    },
    read: (id) => unlessMissing(readProject(cloud.api, id)),
    async update(id, _state, inputs) {
      const { name, description = "", purpose, environment = "", isDefault = false } = inputs;
      await cloud.api.patch(`/v2/projects/${id}`, { name, description, purpose, environment, is_default: isDefault });
      const wanted = inputs.resources as string[] | undefined;
      if (wanted !== undefined) {
        await reassign(cloud.api, id, await listResources(cloud.api, id), wanted);
      }
      return readProject(cloud.api, id);
    },
    async delete(id, _state, call) {
      await reassign(cloud.api, id, await listResources(cloud.api, id), []);
      await waitFor(`project ${id} to be empty`, call.signal, 3, async () => {
        try {
          await cloud.api.delete(`/v2/projects/${id}`);
          return true;
        } catch (error) {
          const full = error instanceof ApiError && error.status === 412 && error.message.includes("with resources");
          if (full) {
            return undefined;
          }
          throw error;
        }
      });
    },
  };
}

/** URNs of everything in a project. */
export async function listResources(api: Api, id: string): Promise<string[]> {
  const urns: string[] = [];
  for (let page = 1; ; page += 1) {
    const { resources, links } = await api.get(`/v2/projects/${id}/resources?page=${page}&per_page=200`);
    urns.push(...resources.map((resource: Json) => resource.urn));
    if (!links?.pages?.next) {
      return urns;
    }
  }
}

/** Puts resources into a project; they leave the one that they were in. */
export async function assign(api: Api, id: string, urns: readonly string[]): Promise<void> {
  if (urns.length > 0) {
    await api.post(`/v2/projects/${id}/resources`, { resources: urns });
  }
}

/** Adds what is new and moves what is no longer wanted to the default project: there is no other way out of one. */
export async function reassign(api: Api, id: string, olds: readonly string[], news: readonly string[]): Promise<void> {
  const removed = olds.filter((urn) => !news.includes(urn));
  if (removed.length > 0) {
    const { project: fallback } = await api.get("/v2/projects/default");
    await assign(api, fallback.id, removed);
  }
  await assign(
    api,
    id,
    news.filter((urn) => !olds.includes(urn)),
  );
}

async function readProject(api: Api, id: string): Promise<Properties> {
  const { project } = await api.get(`/v2/projects/${id}`);
  return {
    name: project.name,
    description: project.description,
    // A purpose that is not on the service's list is stored as "Other: x".
    purpose: String(project.purpose ?? "").replace(/^Other: /, ""),
    environment: project.environment || undefined,
    isDefault: project.is_default,
    ownerId: project.owner_id,
    ownerUuid: project.owner_uuid,
    createdAt: project.created_at,
    updatedAt: project.updated_at,
    resources: await listResources(api, id),
  };
}
