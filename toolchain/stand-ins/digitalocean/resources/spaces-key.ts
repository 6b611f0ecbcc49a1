import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";

/** An access key of Spaces with its grants. The secret half is told at creation only. */
export function spacesKeyKind(cloud: Cloud): ResourceKind {
  return {
    facts: { allowed: { "grants[].permission": ["read", "readwrite", "fullaccess"] } },
    async create({ name, grants = [] }) {
      const { key } = await cloud.api.post("/v2/spaces/keys", { name, grants });
      return { id: key.access_key, outputs: { ...outputs(key), secretKey: key.secret_key } };
    },
    async read(id, state) {
      const answer = await unlessMissing(cloud.api.get(`/v2/spaces/keys/${id}`));
      return answer && { ...outputs(answer.key), secretKey: state.secretKey };
    },
    async update(id, state, { name, grants = [] }) {
      const { key } = await cloud.api.put(`/v2/spaces/keys/${id}`, { name, grants });
      return { ...outputs(key), secretKey: state.secretKey };
    },
    async delete(id) {
      await cloud.api.delete(`/v2/spaces/keys/${id}`);
    },
  };
}

function outputs(key: Json): Properties {
  return { name: key.name, accessKey: key.access_key, createdAt: key.created_at, grants: key.grants ?? [] };
}
