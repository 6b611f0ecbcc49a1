import type { Nic, SpacesGrant } from "../types.ts";

/** What the store keeps of each kind of object. Times are RFC 3339 in UTC with whole seconds. */

export interface SshKeyRecord {
  readonly id: number;
  readonly name: string;
  /** Byte for byte as sent. */
  readonly publicKey: string;
  /** MD5 of the key, colon separated hex. */
  readonly fingerprint: string;
}

export interface ImageRecord {
  readonly id: number;
  readonly name: string;
  readonly url: string;
  readonly description: string;
  readonly distribution: string;
  readonly regions: readonly string[];
  readonly tags: readonly string[];
  readonly createdAt: string;
  /** `NEW` until the import has ended; `deleted` after a failed import or a delete. */
  readonly status: "NEW" | "available" | "deleted";
  readonly errorMessage: string;
  /** GB of disk that a droplet needs at least. */
  readonly minDiskSize: number | null;
  readonly sizeGigabytes: number | null;
  readonly deletedAt?: string;
}

export interface DropletRecord {
  readonly id: number;
  readonly name: string;
  readonly region: string;
  readonly size: string;
  readonly imageId: number;
  /** Disk in GiB: stays when the size changes without its disk. */
  readonly disk: number;
  readonly vpcId: string;
  readonly publicNic: Nic;
  readonly privateNic: Nic;
  readonly features: readonly string[];
  readonly tags: readonly string[];
  readonly createdAt: string;
  readonly status: "new" | "active" | "off";
  /** Name, keys and user-data that the metadata service gives: those of the day of creation. */
  readonly hostname: string;
  readonly publicKeys: readonly string[];
  readonly userData?: string;
  /** Deleted, but still being taken down: nobody sees it, its addresses are still taken. */
  readonly deleted: boolean;
}

export interface ActionRecord {
  readonly id: number;
  readonly status: "in-progress" | "completed" | "errored";
  readonly type: string;
  readonly startedAt: string;
  readonly completedAt: string | null;
  readonly resourceId: number | null;
  readonly resourceType: "droplet" | "image" | "reserved_ip";
  readonly region: string;
  /** Address of the reserved IP; its actions are listed by it. */
  readonly reservedIp?: string;
}

export interface VpcRecord {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly region: string;
  readonly ipRange: string;
  readonly createdAt: string;
  readonly isDefault: boolean;
}

export interface RuleTargets {
  readonly addresses?: readonly string[];
  readonly droplet_ids?: readonly number[];
  readonly tags?: readonly string[];
}

export interface FirewallRule {
  readonly protocol: "tcp" | "udp" | "icmp";
  /** `0` for all, else a port or a range `from-to`. */
  readonly ports: string;
  readonly targets: RuleTargets;
}

export interface FirewallRecord {
  readonly id: string;
  readonly name: string;
  readonly createdAt: string;
  readonly dropletIds: readonly number[];
  readonly tags: readonly string[];
  readonly inbound: readonly FirewallRule[];
  readonly outbound: readonly FirewallRule[];
}

export interface TagRecord {
  /** Lower case: tags are compared without regard to capitals. */
  readonly id: string;
  /** The first spelling. */
  readonly name: string;
}

export interface ProjectRecord {
  readonly id: string;
  readonly name: string;
  readonly description: string;
  readonly purpose: string;
  readonly environment: string;
  readonly isDefault: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
}

export interface ProjectResourceRecord {
  /** The URN, as it was sent. */
  readonly id: string;
  readonly projectId: string;
  readonly assignedAt: string;
}

export interface DomainRecord {
  /** The zone, lower case, without trailing dot. */
  readonly id: string;
  readonly createdAt: string;
}

export interface DnsRecord {
  readonly id: number;
  readonly domain: string;
  readonly type: string;
  /** Relative to the zone; `@` is the zone itself. */
  readonly name: string;
  readonly data: string;
  readonly priority: number | null;
  readonly port: number | null;
  readonly ttl: number;
  readonly weight: number | null;
  readonly flags: number | null;
  readonly tag: string | null;
}

export interface ReservedIpRecord {
  /** The address. */
  readonly id: string;
  readonly region: string;
  readonly dropletId: number | null;
}

export interface SpacesKeyRecord {
  /** The access key. */
  readonly id: string;
  readonly name: string;
  readonly secretKey: string;
  readonly grants: readonly SpacesGrant[];
  readonly createdAt: string;
}
