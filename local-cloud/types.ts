/**
 * What the parts of the local DigitalOcean promise each other. `main.ts` makes each part and hands it the others through these
 * interfaces, so that `api/` knows nothing of namespaces and `droplets/` nothing of HTTP.
 */

/** A network interface of a droplet as DigitalOcean tells of it. */
export interface Nic {
  /** `04:01:...`, lower case. */
  readonly mac: string;
  readonly address: string;
  /** Dotted quad, as the metadata service gives it. */
  readonly netmask: string;
  readonly gateway: string;
}

/** Everything that a driver must know to make a droplet. */
export interface DropletSpec {
  readonly id: number;
  readonly name: string;
  /** Absolute path of the imported raw disk image. */
  readonly imagePath: string;
  readonly memoryMiB: number;
  readonly vcpus: number;
  readonly diskGiB: number;
  readonly publicNic: Nic;
  readonly privateNic?: Nic;
}

/** Boots, stops and destroys droplets. Every call is safe to repeat. */
export interface DropletDriver {
  /** Copies the image to the droplet's own disk, grown to `diskGiB`. Leaves it powered off. */
  create(spec: DropletSpec): Promise<void>;
  powerOn(spec: DropletSpec): Promise<void>;
  /** Like pulling the plug. */
  powerOff(id: number): Promise<void>;
  /** Asks init to power off; resolves when it is off, at the latest after 30 s (then by force). */
  shutdown(id: number): Promise<void>;
  reboot(spec: DropletSpec): Promise<void>;
  /** Powers off and removes the disk. A droplet that does not exist is no error. */
  destroy(id: number): Promise<void>;
  /** `true` while the droplet's init runs. */
  isRunning(id: number): boolean;
  /** Called whenever a droplet starts or stops by itself (reboot or poweroff inside). */
  onChange(listener: (id: number, running: boolean) => void): void;
}

/** One direction of a cloud firewall, already resolved to addresses. */
export interface ResolvedRule {
  readonly protocol: "tcp" | "udp" | "icmp";
  /** `undefined` means all ports. */
  readonly ports?: { readonly from: number; readonly to: number };
  /** CIDR blocks or single addresses, IPv4 or IPv6. */
  readonly addresses: readonly string[];
}

/** The union of all firewalls that apply to one droplet; a droplet that is in none is not listed and stays open. */
export interface DropletFirewall {
  readonly dropletId: number;
  readonly inbound: readonly ResolvedRule[];
  readonly outbound: readonly ResolvedRule[];
}

/** A reserved address that is mapped to a droplet's public one. */
export interface ReservedAddress {
  readonly address: string;
  readonly dropletAddress: string;
}

/** The router between laptop, droplets and VPCs. */
export interface Network {
  /** Address of the laptop as droplets see it; DNS (53), Spaces (80) and metadata (8169) listen here. */
  readonly hostAddress: string;
  /** Next free addresses are chosen by the API out of these: CIDR blocks and their gateways. */
  readonly publicBlock: { readonly cidr: string; readonly netmask: string; readonly gateway: string };
  /** Block out of which VPCs get their /24 each. */
  readonly vpcBlock: string;
  start(): Promise<void>;
  /** Removes namespace, links, route and rules. */
  stop(): Promise<void>;
  /** Makes exactly these firewalls hold, in one nftables transaction, before it resolves. */
  applyFirewalls(firewalls: readonly DropletFirewall[]): Promise<void>;
  /** Makes exactly these mappings hold. */
  applyReservedAddresses(mappings: readonly ReservedAddress[]): Promise<void>;
}

/** Permission of a Spaces key on a bucket; `bucket` is empty for `fullaccess`. */
export interface SpacesGrant {
  readonly bucket: string;
  readonly permission: "read" | "readwrite" | "fullaccess";
}

/** Where the Spaces front looks up keys: the API's data. */
export interface SpacesKeys {
  find(accessKey: string): { readonly secretKey: string; readonly grants: readonly SpacesGrant[] } | undefined;
}

/** Answers of the zones that the API holds. */
export interface Zones {
  /** Whether the API holds this zone or one above the name. */
  holds(name: string): boolean;
  /** Records for a fully qualified name without trailing dot, CNAMEs not followed. */
  lookup(name: string): readonly DnsAnswer[];
  /** Every fully qualified name that has a record, without trailing dot. */
  names(): readonly string[];
}

export interface DnsAnswer {
  readonly type: "A" | "AAAA" | "CNAME" | "MX" | "NS" | "SOA" | "SRV" | "TXT" | "CAA";
  readonly ttl: number;
  readonly data: string;
  readonly priority?: number;
  readonly port?: number;
  readonly weight?: number;
  readonly flags?: number;
  readonly tag?: string;
}
