import { Firewall } from "@pulumi/digitalocean/firewall.js";
import { ReservedIp } from "@pulumi/digitalocean/reservedIp.js";
import { Tag } from "@pulumi/digitalocean/tag.js";
import { Vpc } from "@pulumi/digitalocean/vpc.js";
import * as pulumi from "@pulumi/pulumi";
import type { Outbound } from "../lib/outbound.ts";

export interface NetworkArgs {
  /** Name of the VPC, the firewall and the tag. */
  readonly resourceName: string;
  readonly region: string;
  /** From where ssh is let in: addresses or CIDR blocks. */
  readonly sshAllowedAddresses: readonly string[];
  /** What the server may connect to, besides what every server needs. */
  readonly outbound: readonly Outbound[];
  /** Whether Pulumi refuses to remove the address, to which people's DNS may point. */
  readonly protect: boolean;
}

const everywhere = ["0.0.0.0/0", "::/0"];

/**
 * The server's surroundings: a private network, a firewall that holds for every droplet with the stack's tag, and an address that
 * outlives a server.
 *
 * In: ssh from where it is allowed, HTTP and HTTPS. Out: names, addresses (DHCP: a droplet of a custom image has none without
 * it), the web, time, ping, and what config names. The server's own firewall (server-scripts/chillbox-firewall) says the same once more.
 */
export class Network extends pulumi.ComponentResource {
  readonly vpc: Vpc;
  readonly tag: Tag;
  readonly reservedIp: ReservedIp;

  constructor(name: string, args: NetworkArgs, opts?: pulumi.ComponentResourceOptions) {
    super("chillbox:index:Network", name, {}, opts);
    const child = { parent: this };

    this.vpc = new Vpc(`${name}-vpc`, { name: args.resourceName, region: args.region }, child);
    this.tag = new Tag(`${name}-tag`, { name: args.resourceName }, child);
    new Firewall(
      `${name}-firewall`,
      {
        name: args.resourceName,
        // By tag, not by droplet: a new server is behind it from its first moment.
        tags: [this.tag.name],
        inboundRules: [
          { protocol: "tcp", portRange: "22", sourceAddresses: [...args.sshAllowedAddresses] },
          { protocol: "tcp", portRange: "80", sourceAddresses: everywhere },
          { protocol: "tcp", portRange: "443", sourceAddresses: everywhere },
        ],
        outboundRules: [
          { protocol: "udp", portRange: "53", destinationAddresses: everywhere },
          { protocol: "tcp", portRange: "53", destinationAddresses: everywhere },
          { protocol: "udp", portRange: "67", destinationAddresses: everywhere },
          { protocol: "tcp", portRange: "80", destinationAddresses: everywhere },
          { protocol: "tcp", portRange: "443", destinationAddresses: everywhere },
          { protocol: "udp", portRange: "123", destinationAddresses: everywhere },
          { protocol: "icmp", destinationAddresses: everywhere },
          ...args.outbound.map(({ protocol, ports, address }) => ({
            protocol,
            portRange: ports,
            destinationAddresses: address === undefined ? everywhere : [address],
          })),
        ],
      },
      { ...child, dependsOn: [this.tag] },
    );
    this.reservedIp = new ReservedIp(`${name}-ip`, { region: args.region }, { ...child, protect: args.protect });
    this.registerOutputs({ ipAddress: pulumi.secret(this.reservedIp.ipAddress) });
  }
}
