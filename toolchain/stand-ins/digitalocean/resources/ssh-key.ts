import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing, waitFor } from "../wait.ts";

/** A public key of the account, put on droplets at their creation. */
export function sshKeyKind(cloud: Cloud): ResourceKind {
  const find = async (id: string): Promise<Json> =>
    (await unlessMissing(cloud.api.get(`/v2/account/keys/${id}`)))?.ssh_key;
  return {
    facts: { trimmed: ["publicKey"] },
    async create(inputs, call) {
      const body = { name: inputs.name, public_key: inputs.publicKey };
      const { ssh_key: key } = await cloud.api.post("/v2/account/keys", body);
      const found = await waitFor(`ssh key ${key.id}`, call.signal, 2, () => find(String(key.id)));
      return { id: String(key.id), outputs: outputs(found) };
    },
    async read(id) {
      const key = await find(id);
      return key && outputs(key);
    },
    async update(id, _state, inputs) {
      const { ssh_key: key } = await cloud.api.put(`/v2/account/keys/${id}`, { name: inputs.name });
      return outputs(key);
    },
    async delete(id) {
      await cloud.api.delete(`/v2/account/keys/${id}`);
    },
  };
}

function outputs(key: Json): Properties {
  return { name: key.name, publicKey: key.public_key, fingerprint: key.fingerprint };
}
