import { beginAction, completeAction, type NewAction } from "./actions.ts";
import { findSize } from "./catalog.ts";
import { type ApiContext, type Body, requiredText } from "./context.ts";
import { isBusy, startAction } from "./droplet-jobs.ts";
import { notImplemented, unprocessable } from "./errors.ts";
import type { ActionRecord, DropletRecord } from "./records.ts";

const powerActions = ["power_on", "power_off", "shutdown", "reboot", "power_cycle"];

/**
 * Does what `POST /v2/droplets/{id}/actions` asks for: power in the background, everything else at once.
 * @throws ApiError 422 while another action is under way or when the droplet's state forbids it, 501 for what is missing.
 */
export async function act(context: ApiContext, find: () => DropletRecord, body: Body): Promise<ActionRecord> {
  const { store } = context;
  const type = requiredText(body, "type");
  const action = await store.change(() => {
    const droplet = find();
    if (isBusy(context, droplet.id)) throw unprocessable("Droplet already has a pending event.");
    const fields: NewAction = { type, resourceType: "droplet", resourceId: droplet.id, region: droplet.region };
    if (powerActions.includes(type)) {
      checkPower(droplet, type);
      return beginAction(store, fields);
    }
    store.droplets.put(changed(droplet, type, body));
    return completeAction(store, fields);
  });
  if (action.status === "in-progress") startAction(context, action);
  return action;
}

function checkPower(droplet: DropletRecord, type: string): void {
  if (type === "power_on" && droplet.status === "active") throw unprocessable("Droplet is already powered on.");
  if (type !== "power_on" && type !== "power_cycle" && droplet.status === "off") {
    throw unprocessable("Droplet is already powered off.");
  }
}

function changed(droplet: DropletRecord, type: string, body: Body): DropletRecord {
  switch (type) {
    case "rename":
      return { ...droplet, name: readName(body) };
    case "resize":
      return resized(droplet, body);
    case "enable_backups":
      return { ...droplet, features: [...new Set([...droplet.features, "backups"])] };
    case "disable_backups":
      return { ...droplet, features: droplet.features.filter((feature) => feature !== "backups") };
    case "change_backup_policy":
      if (!droplet.features.includes("backups")) throw unprocessable("Backups are not enabled for this Droplet.");
      return droplet;
    // Every droplet is in a VPC from the beginning.
    case "enable_private_networking":
      return droplet;
    case "enable_ipv6":
      throw unprocessable("IPv6 is not available for Droplets made from custom images.");
    default:
      throw notImplemented(`the droplet action ${type}`);
  }
}

function readName(body: Body): string {
  const name = requiredText(body, "name");
  if (name.length > 255 || !/^[a-zA-Z0-9]?[a-zA-Z0-9.-]*[a-zA-Z0-9]$/.test(name)) {
    throw unprocessable("Name Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)");
  }
  return name;
}

/** Memory and CPUs count from the next power-on. A larger disk is not to be had here. */
function resized(droplet: DropletRecord, body: Body): DropletRecord {
  const size = findSize(body.size);
  if (droplet.status !== "off") throw unprocessable("Droplet must be powered off to be resized.");
  if (size.slug === droplet.size) throw unprocessable("Droplet already has this size.");
  if (size.disk < droplet.disk) throw unprocessable("This size is not available because it has a smaller disk.");
  if (body.disk === true && size.disk > droplet.disk) throw notImplemented("growing a droplet's disk");
  return { ...droplet, size: size.slug };
}
