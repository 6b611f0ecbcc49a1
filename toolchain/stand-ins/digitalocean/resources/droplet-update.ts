import { isDeepStrictEqual } from "node:util";
import type { Properties } from "../../plugin/wire.ts";
import { type Api, ApiError, type Json } from "../api.ts";
import { waitFor, waitForAction } from "../wait.ts";

/** One step of a change: does the call and waits until it has taken effect. */
interface Change {
  readonly api: Api;
  readonly id: string;
  readonly state: Properties;
  readonly inputs: Properties;
  readonly signal: AbortSignal;
}

/** Changes in place whatever differs between state and inputs: size, name, backups, networks, tags and volumes, in this order. */
export async function updateDroplet(
  api: Api,
  id: string,
  state: Properties,
  inputs: Properties,
  signal: AbortSignal,
): Promise<void> {
  const change: Change = { api, id, state, inputs, signal };
  const changed = (key: string): boolean => inputs[key] !== undefined && !isDeepStrictEqual(inputs[key], state[key]);
  if (changed("size")) {
    await resize(change);
  }
  if (changed("name")) {
    await act(change, { type: "rename", name: inputs.name });
    await waitForDroplet(change, `be called ${inputs.name}`, (droplet) => droplet.name === inputs.name);
  }
  if (changed("backups")) {
    await act(change, inputs.backups ? backupAction(inputs) : { type: "disable_backups" });
  } else if (inputs.backups && changed("backupPolicy")) {
    await act(change, { type: "change_backup_policy", backup_policy: inputs.backupPolicy });
  }
  for (const [key, feature] of Object.entries({ ipv6: "ipv6", privateNetworking: "private_networking" })) {
    if (changed(key) && inputs[key] === true) {
      await act(change, { type: `enable_${feature}` });
      await waitForDroplet(change, `have ${feature}`, (droplet) => droplet.features.includes(feature));
    }
  }
  await updateTags(change);
  await updateVolumes(change);
}

async function act({ api, id, signal }: Change, body: Json): Promise<void> {
  const { action } = await api.post(`/v2/droplets/${id}/actions`, body);
  await waitForAction(api, action, signal);
}

function backupAction({ backupPolicy }: Properties): Json {
  return { type: "enable_backups", ...(backupPolicy === undefined ? {} : { backup_policy: backupPolicy }) };
}

function waitForDroplet({ api, id, signal }: Change, what: string, test: (droplet: Json) => boolean): Promise<true> {
  return waitFor(`droplet ${id} to ${what}`, signal, 60, async () => {
    const { droplet } = await api.get(`/v2/droplets/${id}`);
    return !droplet.locked && test(droplet) ? true : undefined;
  });
}

/** A droplet has to be off to change its size. */
async function resize(change: Change): Promise<void> {
  const { inputs } = change;
  try {
    await act(change, { type: "power_off" });
  } catch (error) {
    if (!(error instanceof ApiError && error.message.includes("Droplet is already powered off"))) {
      throw error;
    }
  }
  await waitForDroplet(change, "be off", (droplet) => droplet.status === "off");
  try {
    await act(change, { type: "resize", size: inputs.size, disk: inputs.resizeDisk ?? true });
  } finally {
    // Also when the new size was refused: sites must come back.
    await act(change, { type: "power_on" });
    await waitForDroplet(change, "be active", (droplet) => droplet.status === "active");
  }
}

/** New tags are created first: creating one that exists succeeds. */
async function updateTags({ api, id, state, inputs }: Change): Promise<void> {
  const olds = (state.tags as string[] | undefined) ?? [];
  const news = (inputs.tags as string[] | undefined) ?? [];
  const missingFrom = (list: readonly string[]) => (tag: string) =>
    !list.some((other) => other.toLowerCase() === tag.toLowerCase());
  const body = { resources: [{ resource_id: id, resource_type: "droplet" }] };
  const path = (tag: string): string => `/v2/tags/${encodeURIComponent(tag)}/resources`;
  for (const tag of olds.filter(missingFrom(news))) {
    await api.delete(path(tag), body);
  }
  for (const tag of news.filter(missingFrom(olds))) {
    await api.post("/v2/tags", { name: tag });
    await api.post(path(tag), body);
  }
}

async function updateVolumes({ api, id, state, inputs, signal }: Change): Promise<void> {
  const olds = (state.volumeIds as string[] | undefined) ?? [];
  const news = (inputs.volumeIds as string[] | undefined) ?? olds;
  const change = async (volume: string, type: "attach" | "detach"): Promise<void> => {
    const { action } = await api.post(`/v2/volumes/${volume}/actions`, { type, droplet_id: Number(id) });
    await waitForAction(api, action, signal);
  };
  for (const volume of olds.filter((old) => !news.includes(old))) {
    await change(volume, "detach");
  }
  for (const volume of news.filter((wanted) => !olds.includes(wanted))) {
    await change(volume, "attach");
  }
}
