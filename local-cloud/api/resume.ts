import type { ApiContext } from "./context.ts";
import { startAction, startAgain, startDestroy } from "./droplet-jobs.ts";
import { sweepImages } from "./image-files.ts";
import { startImport } from "./image-import.ts";

/**
 * Takes up what the last stop cut short, as after a host's power cut: droplets that ran boot, deleted ones are taken down, actions and
 * imports that were under way start again.
 */
export async function resume(context: ApiContext): Promise<void> {
  const { store } = context;
  const underWay = store.actions.all().filter((action) => action.status === "in-progress");
  const busy = new Set(underWay.map((action) => action.resourceId));
  for (const droplet of store.droplets.all()) {
    if (droplet.deleted) startDestroy(context, droplet.id);
    else if (droplet.status === "active" && !busy.has(droplet.id)) startAgain(context, droplet.id);
  }
  for (const action of underWay) if (action.resourceType === "droplet") startAction(context, action);
  for (const image of store.images.all()) if (image.status === "NEW") startImport(context, image.id);
  await sweepImages(context);
}
