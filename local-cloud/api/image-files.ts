import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import type { ApiContext } from "./context.ts";

/** Where an imported image lies: a raw, sparse disk image. */
export function imageFile(imagesFolder: string, id: number): string {
  return join(imagesFolder, `${id}.raw`);
}

/** Where an import keeps what it has so far, under one of these endings. */
export function partFile(imagesFolder: string, id: number, ending: "download" | "convert"): string {
  return join(imagesFolder, `${id}.${ending}.part`);
}

/** Removes files of images that are gone and that no droplet is still being made from, and what broken imports left. Never throws. */
export async function sweepImages({ store, imagesFolder, log }: ApiContext): Promise<void> {
  const creating = new Set(
    store.actions
      .all()
      .filter((action) => action.type === "create" && action.status === "in-progress")
      .map((action) => store.droplets.get(action.resourceId ?? 0)?.imageId),
  );
  const isNeeded = (name: string) => {
    const [, digits = "", ending = ""] = /^([0-9]+)\.(raw|(?:download|convert)\.part)$/.exec(name) ?? [];
    const id = Number(digits);
    const status = store.images.get(id)?.status;
    // An import gives its file the final name before the image becomes available.
    if (status === "NEW") return true;
    return ending === "raw" && (status === "available" || creating.has(id));
  };
  try {
    for (const name of await readdir(imagesFolder)) {
      if (/^[0-9]+\./.test(name) && !isNeeded(name)) await rm(join(imagesFolder, name), { force: true });
    }
  } catch (error) {
    log.error(error, "cannot remove files of deleted images");
  }
}
