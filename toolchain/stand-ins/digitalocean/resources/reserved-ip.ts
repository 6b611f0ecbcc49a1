import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import { type Api, ApiError, type Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing, waitFor } from "../wait.ts";

/** An address that outlives droplets. */
export function reservedIpKind(cloud: Cloud): ResourceKind {
  return {
    facts: { computed: ["ipAddress"] },
    async create(inputs, call) {
      const { reserved_ip: made } = await cloud.api.post("/v2/reserved_ips", { region: inputs.region });
      if (inputs.dropletId !== undefined) {
        await assignAddress(cloud.api, made.ip, Number(inputs.dropletId), call.signal);
      }
      return { id: made.ip, outputs: await readAddress(cloud.api, made.ip) };
    },
    read: (id) => unlessMissing(readAddress(cloud.api, id)),
    async update(id, state, inputs, call) {
      if (inputs.dropletId !== undefined) {
        await assignAddress(cloud.api, id, Number(inputs.dropletId), call.signal);
      } else if (state.dropletId !== undefined) {
        await unassignAddress(cloud.api, id, call.signal);
      }
      return readAddress(cloud.api, id);
    },
    async delete(id, state, call) {
      if (state.dropletId !== undefined) {
        await unassignAddress(cloud.api, id, call.signal);
      }
      await cloud.api.delete(`/v2/reserved_ips/${id}`);
    },
  };
}

/** Maps a reserved address to a droplet, once nothing else is being done to the droplet. */
export async function assignAddress(api: Api, ip: string, dropletId: number, signal: AbortSignal): Promise<void> {
  await waitFor(`droplet ${dropletId} to be idle`, signal, 10, async () => {
    const { actions } = await api.get(`/v2/droplets/${dropletId}/actions?per_page=50`);
    return actions.some((action: Json) => action.status === "in-progress") ? undefined : true;
  });
  const { action } = await api.post(`/v2/reserved_ips/${ip}/actions`, { type: "assign", droplet_id: dropletId });
  await waitForAddressAction(api, ip, action, signal);
}

/** Takes a reserved address from its droplet; one that has none is left alone. */
export async function unassignAddress(api: Api, ip: string, signal: AbortSignal): Promise<void> {
  const { reserved_ip: now } = await api.get(`/v2/reserved_ips/${ip}`);
  if (now.droplet) {
    const { action } = await api.post(`/v2/reserved_ips/${ip}/actions`, { type: "unassign" });
    await waitForAddressAction(api, ip, action, signal);
  }
}

function waitForAddressAction(api: Api, ip: string, action: Json, signal: AbortSignal): Promise<true> {
  return waitFor(`${action.type} of ${ip}`, signal, 10, async () => {
    try {
      const { action: now } = await api.get(`/v2/reserved_ips/${ip}/actions/${action.id}`);
      if (now.status === "errored") {
        throw new Error(`${now.type} of ${ip} failed`);
      }
      return now.status === "completed" ? true : undefined;
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) {
        throw error;
      }
      const { reserved_ip: now } = await api.get(`/v2/reserved_ips/${ip}`);
      return now.locked ? undefined : true;
    }
  });
}

async function readAddress(api: Api, ip: string): Promise<Properties> {
  const { reserved_ip: found } = await api.get(`/v2/reserved_ips/${ip}`);
  return {
    ipAddress: found.ip,
    region: found.droplet ? found.droplet.region.slug : found.region.slug,
    dropletId: found.droplet?.id,
    reservedIpUrn: `do:reservedip:${found.ip}`,
  };
}
