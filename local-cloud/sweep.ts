import { access, rm } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { findCgroups, groupExists, removeGroups } from "./droplets/cgroups.ts";
import { freeLoopDevices } from "./droplets/disk.ts";
import { groupName } from "./droplets/driver.ts";
import { runtimeFolder } from "./network/dhcp.ts";
import { removeRouter, routerExists, routerName } from "./network/router.ts";
import { readProcess, removeProcess } from "./process.ts";

/** Whether anything of this copy's local cloud is on the machine, be it running or left over. Data does not count. */
export async function hasLeftovers(settings: LocalCloudSettings): Promise<boolean> {
  return (
    (await readProcess(settings)) !== undefined ||
    (await exists(runtimeFolder(settings))) ||
    (await routerExists(routerName(settings))) ||
    (await groupExists(groupName(settings)))
  );
}

/**
 * Removes everything but the data. The processes are those in this copy's control group, so that no other one can be hit; with them
 * go their mounts, and with the mounts their loop devices.
 */
export async function sweep(settings: LocalCloudSettings): Promise<void> {
  await removeGroups(await findCgroups(), groupName(settings));
  await removeRouter(routerName(settings));
  await freeLoopDevices(`${join(settings.cloud, "droplets")}/`);
  await rm(runtimeFolder(settings), { recursive: true, force: true });
  await removeProcess(settings);
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
