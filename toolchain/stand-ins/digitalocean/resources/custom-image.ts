import type { ResourceKind } from "../../plugin/plugin.ts";
import type { Properties } from "../../plugin/wire.ts";
import { ApiError, type Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { waitFor, waitForAction } from "../wait.ts";

const distributions =
  "Arch Linux,CentOS,CoreOS,Debian,Fedora,Fedora Atomic,FreeBSD,Gentoo,openSUSE,RancherOS,Ubuntu,Unknown,Unknown OS";

/** A disk image that is imported from an address. */
export function customImageKind(cloud: Cloud): ResourceKind {
  const transfer = async (id: string, regions: readonly string[], signal: AbortSignal): Promise<void> => {
    for (const region of regions) {
      const { action } = await cloud.api.post(`/v2/images/${id}/actions`, { type: "transfer", region });
      await waitForAction(cloud.api, action, signal);
    }
  };
  return {
    facts: {
      defaults: { distribution: "Unknown" },
      allowed: { distribution: distributions.split(",") },
      sets: ["regions", "tags"],
      shrinkReplaces: ["regions"],
      anyCase: ["tags"],
    },
    async create({ name, url, regions, distribution, description, tags }, call) {
      const [first, ...others] = [...(regions as string[])].sort();
      const body = { name, url, region: first, distribution, description, tags: tags ?? [] };
      const { image } = await cloud.api.post("/v2/images", body);
      const id = String(image.id);
      await waitForImport(cloud, id, call.signal);
      await transfer(id, others, call.signal);
      return { id, outputs: outputs((await cloud.api.get(`/v2/images/${id}`)).image) };
    },
    // An image that is gone is an error here, as it is for the official plugin.
    async read(id) {
      const { image } = await cloud.api.get(`/v2/images/${id}`);
      return image.status === "deleted" ? undefined : outputs(image);
    },
    async update(id, state, { name, distribution, description, regions }, call) {
      const wanted = regions as string[];
      const present = (state.regions as string[] | undefined) ?? [];
      await cloud.api.put(`/v2/images/${id}`, { name, distribution, description });
      const added = wanted.filter((region) => !present.includes(region));
      await transfer(id, added, call.signal);
      return outputs((await cloud.api.get(`/v2/images/${id}`)).image);
    },
    async delete(id) {
      try {
        await cloud.api.delete(`/v2/images/${id}`);
      } catch (error) {
        const gone =
          error instanceof ApiError && error.status === 422 && error.message.includes("already deleted image");
        if (!gone) {
          throw error;
        }
      }
    },
  };
}

/** Waits until an image is imported; a failed import ends as `deleted` with the reason in `error_message`. */
async function waitForImport(cloud: Cloud, id: string, signal: AbortSignal): Promise<void> {
  await waitFor(`the import of image ${id}`, signal, 60, async () => {
    const { image } = await cloud.api.get(`/v2/images/${id}`);
    if (image.status === "available") {
      return true;
    }
    if (image.status !== "NEW" && image.status !== "pending") {
      throw new Error(`the import of image ${id} failed: ${image.error_message || `its status is ${image.status}`}`);
    }
    return undefined;
  });
}

function outputs(image: Json): Properties {
  return {
    imageId: image.id,
    name: image.name,
    type: image.type,
    distribution: image.distribution,
    slug: image.slug ?? "",
    public: image.public,
    regions: image.regions ?? [],
    minDiskSize: image.min_disk_size,
    sizeGigabytes: image.size_gigabytes,
    createdAt: image.created_at,
    description: image.description || undefined,
    tags: image.tags ?? [],
    status: image.status,
  };
}
