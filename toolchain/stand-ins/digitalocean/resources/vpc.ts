import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import { ApiError, type Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing, waitFor } from "../wait.ts";

/** A private network of a region. */
export function vpcKind(cloud: Cloud): ResourceKind {
  return {
    facts: { computed: ["ipRange"] },
    async create({ name, region, description, ipRange }) {
      const body = { name, region, description, ip_range: ipRange };
      const { vpc } = await cloud.api.post("/v2/vpcs", body);
      return { id: vpc.id, outputs: outputs(vpc) };
    },
    async read(id) {
      const answer = await unlessMissing(cloud.api.get(`/v2/vpcs/${id}`));
      return answer && outputs(answer.vpc);
    },
    async update(id, state, { name, description }) {
      const body = { name, description, default: state.default ?? false };
      const { vpc } = await cloud.api.put(`/v2/vpcs/${id}`, body);
      return outputs(vpc);
    },
    // Members leave a VPC only when they are really gone: 403 and 409 mean that some are left.
    async delete(id, _state, call) {
      await waitFor(`the members of VPC ${id} to leave`, call.signal, 2, async () => {
        try {
          await cloud.api.delete(`/v2/vpcs/${id}`);
          return true;
        } catch (error) {
          if (error instanceof ApiError && (error.status === 403 || error.status === 409)) {
            call.log(error.message);
            return undefined;
          }
          throw error;
        }
      });
    },
  };
}

function outputs(vpc: Json): Properties {
  return {
    name: vpc.name,
    region: vpc.region,
    description: vpc.description,
    ipRange: vpc.ip_range,
    createdAt: vpc.created_at,
    default: vpc.default,
    vpcUrn: vpc.urn,
  };
}
