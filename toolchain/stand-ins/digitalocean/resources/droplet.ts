import { createHash } from "node:crypto";
import { type Call, PartlyMade, type ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import { type Api, ApiError, type Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing, waitFor } from "../wait.ts";
import { updateDroplet } from "./droplet-update.ts";

/** A virtual machine. */
export function dropletKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      defaults: { backups: false, gracefulShutdown: false, monitoring: false, resizeDisk: true },
      sets: ["tags", "volumeIds", "sshKeys"],
      anyCase: ["tags"],
      computed: ["region", "vpcUuid", "privateNetworking", "publicNetworking", "ipv6Address", "volumeIds"],
      offReplaces: ["ipv6"],
      notReadBack: ["userData"],
      volatile: ["status"],
    },
    create: (inputs, call) => createDroplet(cloud.api, inputs, call),
    async read(id, state) {
      const answer = await unlessMissing(cloud.api.get(`/v2/droplets/${id}`));
      return answer && readDroplet(answer.droplet, state);
    },
    async update(id, state, inputs, call) {
      await updateDroplet(cloud.api, id, state, inputs, call.signal);
      const { droplet } = await cloud.api.get(`/v2/droplets/${id}`);
      return readDroplet(droplet, { ...inputs, userData: state.userData });
    },
    delete: (id, state, call) => deleteDroplet(cloud.api, id, state, call),
  };
}

async function createDroplet(api: Api, inputs: Properties, call: Call): Promise<{ id: string; outputs: Properties }> {
  const { droplet: made } = await api.post("/v2/droplets", requestBody(inputs));
  const id = String(made.id);
  const written = { ...inputs, userData: hashed(inputs.userData) };
  try {
    const droplet = await waitFor(`droplet ${id} to be active`, call.signal, 60, () => activeDroplet(api, id));
    return { id, outputs: readDroplet(droplet, written) };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new PartlyMade(`droplet ${id} was made, but ${reason}`, id, written);
  }
}

/** The droplet once it is active. While it is locked, or not listed yet, its status says nothing. */
async function activeDroplet(api: Api, id: string): Promise<Json> {
  const droplet = (await unlessMissing(api.get(`/v2/droplets/${id}`)))?.droplet;
  if (droplet === undefined || droplet.locked || droplet.status === "new") {
    return undefined;
  }
  if (droplet.status !== "active") {
    throw new Error(`became '${droplet.status}' instead of 'active'`);
  }
  return droplet;
}

function requestBody(inputs: Properties): Json {
  const keys = inputs.sshKeys as string[] | undefined;
  const volumes = inputs.volumeIds as string[] | undefined;
  return {
    name: inputs.name,
    region: inputs.region ?? "",
    size: inputs.size,
    image: numberOrText(String(inputs.image)),
    ssh_keys: keys?.length ? keys.map(numberOrText) : null,
    backups: inputs.backups ?? false,
    ipv6: inputs.ipv6 ?? false,
    private_networking: inputs.privateNetworking ?? false,
    monitoring: inputs.monitoring ?? false,
    tags: inputs.tags ?? [],
    user_data: inputs.userData,
    vpc_uuid: inputs.vpcUuid,
    with_droplet_agent: inputs.dropletAgent,
    backup_policy: inputs.backupPolicy,
    ...(volumes?.length ? { volumes: volumes.map((volume) => ({ id: volume })) } : {}),
    ...(inputs.publicNetworking === false ? { public_networking: false } : {}),
  };
}

/** Ids travel as numbers, slugs and fingerprints as text. */
function numberOrText(text: string): number | string {
  return /^\d+$/.test(text) ? Number(text) : text;
}

/** The state keeps no user-data, only its SHA-1. */
function hashed(userData: unknown): string | undefined {
  return typeof userData === "string" ? createHash("sha1").update(userData).digest("hex") : undefined;
}

/** Outputs from an answer; what the API never tells comes from `known`. */
function readDroplet(droplet: Json, known: Properties): Properties {
  const { networks, features } = droplet;
  const v4 = (type: string): Json => networks.v4.find((entry: Json) => entry.type === type);
  const v6 = networks.v6.find((entry: Json) => entry.type === "public");
  const copied = ["image", "sshKeys", "userData", "dropletAgent", "gracefulShutdown", "resizeDisk", "backupPolicy"];
  return {
    ...Object.fromEntries(copied.map((key) => [key, known[key]])),
    name: droplet.name,
    region: droplet.region.slug,
    size: droplet.size.slug,
    priceHourly: droplet.size.price_hourly,
    priceMonthly: droplet.size.price_monthly,
    disk: droplet.disk,
    vcpus: droplet.vcpus,
    memory: droplet.memory,
    status: droplet.status,
    locked: droplet.locked,
    createdAt: droplet.created_at,
    vpcUuid: droplet.vpc_uuid,
    ipv4Address: v4("public")?.ip_address ?? "",
    ipv4AddressPrivate: v4("private")?.ip_address ?? "",
    ipv6Address: v6?.ip_address.toLowerCase() ?? "",
    publicNetworking: v4("public") !== undefined,
    backups: features.includes("backups"),
    ipv6: features.includes("ipv6"),
    monitoring: features.includes("monitoring"),
    privateNetworking: features.includes("private_networking"),
    volumeIds: droplet.volume_ids ?? [],
    tags: droplet.tags ?? [],
    dropletUrn: `do:droplet:${droplet.id}`,
  };
}

async function deleteDroplet(api: Api, id: string, state: Properties, call: Call): Promise<void> {
  const find = async (): Promise<Json> => (await unlessMissing(api.get(`/v2/droplets/${id}`)))?.droplet;
  const gone = await waitFor(`droplet ${id} to be unlocked`, call.signal, 10, async () => {
    const droplet = await find();
    return droplet === undefined ? { gone: true } : droplet.locked ? undefined : { gone: false };
  });
  if (gone.gone) {
    return;
  }
  if (state.gracefulShutdown === true) {
    await shutDown(api, id, find, call);
  }
  for (const volume of (state.volumeIds as string[] | undefined) ?? []) {
    await api.post(`/v2/volumes/${volume}/actions`, { type: "detach", droplet_id: Number(id) });
  }
  await unlessMissing(api.delete(`/v2/droplets/${id}`));
  await waitFor(`droplet ${id} to be gone`, call.signal, 1, async () =>
    (await find()) === undefined ? true : undefined,
  );
}

async function shutDown(api: Api, id: string, find: () => Promise<Json>, call: Call): Promise<void> {
  try {
    await api.post(`/v2/droplets/${id}/actions`, { type: "shutdown" });
  } catch (error) {
    if (!(error instanceof ApiError && error.message.includes("already powered off"))) {
      throw error;
    }
  }
  await waitFor(`droplet ${id} to shut down`, call.signal, 10, async () => {
    const droplet = await find();
    return droplet === undefined || droplet.status === "off" ? true : undefined;
  });
}
