import type { Nic } from "../types.ts";
import { dropletLimit } from "./account.ts";
import { beginAction } from "./actions.ts";
import { freeAddress, netmask, parseBlock, toAddress } from "./addresses.ts";
import { findRegion, findSize } from "./catalog.ts";
import { type ApiContext, type Body, now, textOf, textsOf } from "./context.ts";
import { startAction } from "./droplet-jobs.ts";
import { notImplemented, unprocessable } from "./errors.ts";
import { addToProject } from "./projects.ts";
import type { ActionRecord, DropletRecord, ImageRecord, VpcRecord } from "./records.ts";
import { findSshKey } from "./ssh-keys.ts";
import { makeTags } from "./tags.ts";
import { defaultVpc } from "./vpcs.ts";

const maxUserDataBytes = 64 * 1024;
const maxAtOnce = 10;

export interface MadeDroplet {
  readonly droplet: DropletRecord;
  readonly action: ActionRecord;
}

/**
 * Makes the droplet (`name`) or droplets (`names`) of a request: all or none. They boot in the background.
 * @throws ApiError 422 for what cannot be made, 501 for what only DigitalOcean can.
 */
export async function createDroplets(context: ApiContext, body: Body): Promise<MadeDroplet[]> {
  const { store } = context;
  refuseUnsupported(body);
  const names = body.names === undefined ? [textOf(body, "name")] : textsOf(body, "names");
  if (names.length < 1 || names.length > maxAtOnce) throw unprocessable(`between 1 and ${maxAtOnce} names are needed`);
  const made = await store.change(() => {
    const plan = readPlan(context, body);
    const living = store.droplets.all().filter((droplet) => !droplet.deleted).length;
    if (living + names.length > dropletLimit) {
      throw unprocessable("creating this/these droplet(s) will exceed your droplet limit");
    }
    return names.map((name) => createDroplet(context, name, plan));
  });
  for (const { action } of made) startAction(context, action);
  return made;
}

interface Plan {
  readonly fields: Omit<DropletRecord, "id" | "name" | "hostname" | "publicNic" | "privateNic">;
  readonly vpc: VpcRecord;
}

function readPlan(context: ApiContext, body: Body): Plan {
  const { store } = context;
  const image = readImage(context, body);
  const size = findSize(body.size);
  if (image.minDiskSize !== null && image.minDiskSize > size.disk) {
    throw unprocessable(
      `This size's disk of ${size.disk} GB is smaller than the image, which needs ${image.minDiskSize} GB.`,
    );
  }
  const named = textOf(body, "vpc_uuid");
  const namedVpc = named === "" ? undefined : store.vpcs.get(named);
  if (named !== "" && namedVpc === undefined) throw unprocessable("VPC could not be found");
  const slug = textOf(body, "region") || namedVpc?.region || image.regions[0];
  const region = findRegion(slug).slug;
  if (!image.regions.includes(region)) throw unprocessable(`The image is not available in region ${region}.`);
  if (namedVpc !== undefined && namedVpc.region !== region) {
    throw unprocessable(`The VPC is in region ${namedVpc.region}, not in ${region}.`);
  }
  const publicKeys = readKeys(context, body);
  const userData = textOf(body, "user_data");
  if (Buffer.byteLength(userData) > maxUserDataBytes) throw unprocessable("User data cannot be larger than 64 KiB.");
  const vpc = namedVpc ?? defaultVpc(context, region);
  const fields = {
    region,
    size: size.slug,
    imageId: image.id,
    disk: size.disk,
    vpcId: vpc.id,
    features: ["private_networking", ...(body.backups === true ? ["backups"] : [])],
    tags: makeTags(store, textsOf(body, "tags")),
    createdAt: now(),
    status: "new" as const,
    publicKeys,
    ...(userData !== "" && { userData }),
    deleted: false,
  };
  return { fields, vpc };
}

/** What DigitalOcean refuses for custom images, and there are no others here, or what only DigitalOcean has. */
function refuseUnsupported(body: Body): void {
  if (body.ipv6 === true) throw unprocessable("IPv6 is not available for Droplets made from custom images.");
  if (body.monitoring === true) {
    throw unprocessable("Monitoring is not available for Droplets made from custom images.");
  }
  const volumes = body.volumes;
  if (Array.isArray(volumes) && volumes.length > 0) throw notImplemented("volumes");
  if (body.public_networking === false) throw notImplemented("droplets without public networking");
}

function readImage({ store }: ApiContext, body: Body): ImageRecord {
  const id = Number(body.image);
  const image = Number.isSafeInteger(id) ? store.images.get(id) : undefined;
  if (image?.status !== "available") throw unprocessable("You specified an invalid image for Droplet creation.");
  return image;
}

function readKeys({ store }: ApiContext, body: Body): string[] {
  const identifiers = (body.ssh_keys ?? []) as (string | number)[];
  const keys = identifiers.map((identifier) => {
    const key = findSshKey(store, identifier);
    if (key === undefined) throw unprocessable(`${identifier} are invalid key identifiers for Droplet creation.`);
    return key.publicKey.trim();
  });
  if (keys.length === 0) throw unprocessable("An SSH key is required for Droplets made from custom images.");
  return [...new Set(keys)];
}

function createDroplet(context: ApiContext, name: string, { fields, vpc }: Plan): MadeDroplet {
  const { store } = context;
  const id = store.next("droplet", 10001);
  const droplet = store.droplets.put({
    ...fields,
    id,
    name,
    hostname: name,
    publicNic: publicNic(context, id),
    privateNic: privateNic(context, id, vpc),
  });
  addToProject(store, `do:droplet:${id}`);
  const action = { type: "create", resourceType: "droplet", resourceId: id, region: fields.region } as const;
  return { droplet, action: beginAction(store, action) };
}

function publicNic(context: ApiContext, id: number): Nic {
  const { publicBlock } = context.network;
  const address = choosePublicAddress(context);
  return { mac: mac(id, 1), address, netmask: publicBlock.netmask, gateway: publicBlock.gateway };
}

/** A public address that no droplet and no reserved IP has. Inside a change. @throws ApiError 422 when all are taken */
export function choosePublicAddress({ store, network }: ApiContext): string {
  const block = parseBlock(network.publicBlock.cidr);
  if (block === undefined)
    throw new Error(`the network's public block ${network.publicBlock.cidr} is not a CIDR block`);
  const taken = new Set([
    network.publicBlock.gateway,
    network.hostAddress,
    ...store.droplets.all().map((droplet) => droplet.publicNic.address),
    ...store.reservedIps.all().map((reserved) => reserved.id),
  ]);
  const address = freeAddress(block, taken, () => store.next("public address", 0));
  if (address === undefined) throw unprocessable("no public address is left: delete a droplet or reserved IP");
  return address;
}

/** The gateway is the range's first address. */
function privateNic({ store }: ApiContext, id: number, vpc: VpcRecord): Nic {
  const block = parseBlock(vpc.ipRange);
  if (block === undefined) throw new Error(`VPC ${vpc.id} has the range ${vpc.ipRange}`);
  const gateway = toAddress(block.first + 1);
  const members = store.droplets.all().filter((droplet) => droplet.vpcId === vpc.id);
  const taken = new Set([gateway, ...members.map((droplet) => droplet.privateNic.address)]);
  const address = freeAddress(block, taken, () => store.next(`address in ${vpc.id}`, 0));
  if (address === undefined) throw unprocessable("The VPC has no address left.");
  return { mac: mac(id, 2), address, netmask: netmask(block.prefix), gateway };
}

/** `04:01:`, the droplet's id, the number of the interface: never given twice. */
function mac(id: number, index: number): string {
  const digits = id.toString(16).padStart(6, "0").slice(-6);
  return `04:01:${digits.slice(0, 2)}:${digits.slice(2, 4)}:${digits.slice(4)}:0${index}`;
}
