import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";
import { assign, listResources, reassign } from "./project.ts";

/** Membership of some resources in a project that is managed elsewhere. */
export function projectResourcesKind(cloud: Cloud): ResourceKind {
  return {
    facts: { sets: ["resources"] },
    async create(inputs) {
      const project = String(inputs.project);
      await cloud.api.get(`/v2/projects/${project}`);
      await assign(cloud.api, project, inputs.resources as string[]);
      return { id: project, outputs: inputs };
    },
    async read(id, state) {
      if ((await unlessMissing(cloud.api.get(`/v2/projects/${id}`))) === undefined) {
        return undefined;
      }
      const present = await listResources(cloud.api, id);
      const configured = state.resources as string[] | undefined;
      return { project: id, resources: configured?.filter((urn) => present.includes(urn)) ?? present };
    },
    async update(id, state, inputs) {
      await reassign(cloud.api, id, (state.resources as string[]) ?? [], inputs.resources as string[]);
      return inputs;
    },
    async delete(id, state) {
      await reassign(cloud.api, id, (state.resources as string[]) ?? [], []);
    },
  };
}
