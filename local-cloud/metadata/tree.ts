import type { DropletRecord } from "../api/records.ts";
import type { Nic } from "../types.ts";

/** Folders and files of the metadata service. */
export interface Tree {
  readonly [name: string]: Tree | string;
}

export interface MetadataFacts {
  readonly droplet: DropletRecord;
  readonly nameservers: readonly string[];
  /** The reserved address that leads to the droplet. */
  readonly reservedIp: string | undefined;
}

/** DigitalOcean gives its own agents' cloud-config here; the local one has none to give. */
const vendorData = "#cloud-config\n";

/** What lies under `/metadata/v1/`. */
export function metadataTree({ droplet, nameservers, reservedIp }: MetadataFacts): Tree {
  const reserved = {
    ipv4: { active: String(reservedIp !== undefined), ...(reservedIp && { ip_address: reservedIp }) },
  };
  return {
    id: String(droplet.id),
    hostname: droplet.hostname,
    ...(droplet.userData !== undefined && { "user-data": droplet.userData }),
    "vendor-data": vendorData,
    "public-keys": droplet.publicKeys.join("\n"),
    region: droplet.region,
    interfaces: {
      private: { "0": interfaceTree(droplet.privateNic, "private") },
      public: { "0": interfaceTree(droplet.publicNic, "public") },
    },
    dns: { nameservers: nameservers.join("\n") },
    floating_ip: reserved,
    reserved_ip: { ...reserved, ipv6: { active: "false" } },
    tags: Object.fromEntries(droplet.tags.map((tag) => [tag, ""])),
    features: { dhcp_enabled: "true" },
  };
}

function interfaceTree(nic: Nic, type: string): Tree {
  return { mac: nic.mac, type, ipv4: { address: nic.address, netmask: nic.netmask, gateway: nic.gateway } };
}

/** `/metadata/v1.json`. */
export function metadataJson({ droplet, nameservers, reservedIp }: MetadataFacts): Record<string, unknown> {
  const active = reservedIp === undefined ? { active: false } : { ip_address: reservedIp, active: true };
  return {
    droplet_id: droplet.id,
    hostname: droplet.hostname,
    ...(droplet.userData !== undefined && { user_data: droplet.userData }),
    vendor_data: vendorData,
    public_keys: droplet.publicKeys,
    region: droplet.region,
    interfaces: {
      private: [interfaceJson(droplet.privateNic, "private")],
      public: [interfaceJson(droplet.publicNic, "public")],
    },
    floating_ip: { ipv4: active },
    reserved_ip: { ipv4: active, ipv6: { active: false } },
    dns: { nameservers },
    tags: droplet.tags,
    features: { dhcp_enabled: true },
  };
}

function interfaceJson(nic: Nic, type: string) {
  return {
    ipv4: { ip_address: nic.address, netmask: nic.netmask, gateway: nic.gateway },
    mac: nic.mac,
    type,
  };
}
