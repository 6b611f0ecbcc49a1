import { randomBytes } from "node:crypto";
import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Cloud } from "../plugin.ts";
import { assignAddress, unassignAddress } from "./reserved-ip.ts";

/** The mapping of a reserved address to a droplet. */
export function reservedIpAssignmentKind(cloud: Cloud): ResourceKind {
  return {
    facts: {},
    async create(inputs, call) {
      const { ipAddress, dropletId } = inputs;
      await assignAddress(cloud.api, String(ipAddress), Number(dropletId), call.signal);
      return { id: `${dropletId}-${ipAddress}-${randomBytes(13).toString("hex")}`, outputs: inputs };
    },
    // An address that is gone is an error here, as it is for the official plugin.
    async read(id, state) {
      const [droplet, address] = id.split("-");
      const { reserved_ip: found } = await cloud.api.get(`/v2/reserved_ips/${state.ipAddress ?? address}`);
      const same = found.droplet?.id === Number(state.dropletId ?? droplet);
      return same ? { ipAddress: found.ip, dropletId: found.droplet.id } : undefined;
    },
    async delete(_id, { ipAddress, dropletId }, call) {
      const { reserved_ip: found } = await cloud.api.get(`/v2/reserved_ips/${ipAddress}`);
      if (found.droplet?.id === Number(dropletId)) {
        await unassignAddress(cloud.api, String(ipAddress), call.signal);
      }
    },
  };
}
