import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";

/** A DNS zone. */
export function domainKind(cloud: Cloud): ResourceKind {
  return {
    facts: {},
    async create({ name, ipAddress }) {
      const { domain } = await cloud.api.post("/v2/domains", { name, ip_address: ipAddress });
      return { id: domain.name, outputs: outputs((await cloud.api.get(`/v2/domains/${domain.name}`)).domain) };
    },
    async read(id) {
      const answer = await unlessMissing(cloud.api.get(`/v2/domains/${id}`));
      return answer && outputs(answer.domain);
    },
    async delete(id) {
      await cloud.api.delete(`/v2/domains/${id}`);
    },
  };
}

function outputs({ name, ttl }: Json): Properties {
  return { name, ttl, domainUrn: `do:domain:${name}` };
}
