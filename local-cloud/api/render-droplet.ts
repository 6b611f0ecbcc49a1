import { join } from "node:path";
import type { DropletSpec } from "../types.ts";
import { findRegion, findSize } from "./catalog.ts";
import type { ApiContext } from "./context.ts";
import { found } from "./context.ts";
import type { components } from "./openapi.d.ts";
import type { DropletRecord, ImageRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** A droplet as the API tells of it. Clients crash when region, size or networks are missing. */
export function renderDroplet(store: Store, droplet: DropletRecord): components["schemas"]["droplet"] {
  const size = findSize(droplet.size);
  return {
    id: droplet.id,
    name: droplet.name,
    memory: size.memory,
    vcpus: size.vcpus,
    disk: droplet.disk,
    disk_info: [{ type: "local", size: { amount: droplet.disk, unit: "gib" } }],
    // As long as it is being made.
    locked: droplet.status === "new",
    status: droplet.status,
    kernel: null,
    created_at: droplet.createdAt,
    features: [...droplet.features],
    backup_ids: [],
    next_backup_window: null,
    snapshot_ids: [],
    image: renderImage(found(store.images.get(droplet.imageId))),
    volume_ids: [],
    size,
    size_slug: droplet.size,
    networks: {
      v4: [renderNic(droplet.privateNic, "private"), renderNic(droplet.publicNic, "public")],
      v6: [],
    },
    region: findRegion(droplet.region),
    tags: [...droplet.tags],
    vpc_uuid: droplet.vpcId,
  };
}

function renderNic(nic: DropletRecord["publicNic"], type: "public" | "private") {
  return { ip_address: nic.address, netmask: nic.netmask, gateway: nic.gateway, type };
}

/** An image as the API tells of it. */
export function renderImage(image: ImageRecord): components["schemas"]["image"] {
  return {
    id: image.id,
    name: image.name,
    type: "custom",
    distribution: image.distribution as NonNullable<components["schemas"]["image"]["distribution"]>,
    slug: null,
    public: false,
    regions: [...image.regions] as components["schemas"]["regions_array"],
    created_at: image.createdAt,
    min_disk_size: image.minDiskSize,
    size_gigabytes: image.sizeGigabytes,
    description: image.description,
    tags: [...image.tags],
    status: image.status,
    error_message: image.errorMessage,
  };
}

/** What the driver must know of a droplet. */
export function dropletSpec({ imagesFolder }: Pick<ApiContext, "imagesFolder">, droplet: DropletRecord): DropletSpec {
  const size = findSize(droplet.size);
  return {
    id: droplet.id,
    name: droplet.name,
    imagePath: join(imagesFolder, `${droplet.imageId}.raw`),
    memoryMiB: size.memory,
    vcpus: size.vcpus,
    diskGiB: droplet.disk,
    publicNic: droplet.publicNic,
    privateNic: droplet.privateNic,
  };
}
