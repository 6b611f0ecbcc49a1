import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";

/** A tag, by which firewalls find droplets. */
export function tagKind(cloud: Cloud): ResourceKind {
  const path = (name: unknown): string => `/v2/tags/${encodeURIComponent(String(name))}`;
  return {
    facts: {},
    async create({ name }) {
      const { tag } = await cloud.api.post("/v2/tags", { name });
      return { id: tag.name, outputs: outputs((await cloud.api.get(path(tag.name))).tag) };
    },
    async read(id) {
      const answer = await unlessMissing(cloud.api.get(path(id)));
      return answer && outputs(answer.tag);
    },
    async delete(id) {
      await cloud.api.delete(path(id));
    },
  };
}

function outputs({ name, resources }: Json): Properties {
  return {
    name,
    totalResourceCount: resources.count,
    dropletsCount: resources.droplets.count,
    imagesCount: resources.images.count,
    volumesCount: resources.volumes.count,
    volumeSnapshotsCount: resources.volume_snapshots.count,
    databasesCount: resources.databases.count,
  };
}
