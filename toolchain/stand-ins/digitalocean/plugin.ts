import type { Plugin, ResourceKind } from "../plugin/plugin.ts";
import { readSchema } from "../plugin/schema.ts";
import { type Api, createApi } from "./api.ts";
import { customImageKind } from "./resources/custom-image.ts";
import { dnsRecordKind } from "./resources/dns-record.ts";
import { domainKind } from "./resources/domain.ts";
import { dropletKind } from "./resources/droplet.ts";
import { firewallKind } from "./resources/firewall.ts";
import { projectKind } from "./resources/project.ts";
import { projectResourcesKind } from "./resources/project-resources.ts";
import { reservedIpKind } from "./resources/reserved-ip.ts";
import { reservedIpAssignmentKind } from "./resources/reserved-ip-assignment.ts";
import { spacesBucketKind } from "./resources/spaces-bucket.ts";
import { spacesBucketObjectKind } from "./resources/spaces-bucket-object.ts";
import { spacesKeyKind } from "./resources/spaces-key.ts";
import { sshKeyKind } from "./resources/ssh-key.ts";
import { tagKind } from "./resources/tag.ts";
import { vpcKind } from "./resources/vpc.ts";
import { addressFaults, type ProviderSettings, readSettings } from "./settings.ts";
import { createSpaces, type Spaces } from "./spaces.ts";

/** What the resources talk to; made when the engine configures the plugin. */
export interface Cloud {
  readonly api: Api;
  readonly spaces: Spaces;
}

/** The plugin `digitalocean`. */
export function digitaloceanPlugin(): Plugin {
  let settings: ProviderSettings | undefined;
  const made: { api?: Api; spaces?: Spaces } = {};
  const configured = (): ProviderSettings => {
    if (settings === undefined) {
      throw new Error("the digitalocean stand-in was not configured");
    }
    return settings;
  };
  const cloud: Cloud = {
    get api() {
      made.api ??= createApi(configured());
      return made.api;
    },
    get spaces() {
      made.spaces ??= createSpaces(configured());
      return made.spaces;
    },
  };
  return {
    version: "4.80.1",
    schema: readSchema(import.meta.url),
    resources: resourceKinds(cloud),
    checkConfig: (config) => addressFaults(config),
    configure(config) {
      settings = readSettings(config);
    },
  };
}

function resourceKinds(cloud: Cloud): Record<string, ResourceKind> {
  return {
    "digitalocean:index/customImage:CustomImage": customImageKind(cloud),
    "digitalocean:index/dnsRecord:DnsRecord": dnsRecordKind(cloud),
    "digitalocean:index/domain:Domain": domainKind(cloud),
    "digitalocean:index/droplet:Droplet": dropletKind(cloud),
    "digitalocean:index/firewall:Firewall": firewallKind(cloud),
    "digitalocean:index/project:Project": projectKind(cloud),
    "digitalocean:index/projectResources:ProjectResources": projectResourcesKind(cloud),
    "digitalocean:index/reservedIp:ReservedIp": reservedIpKind(cloud),
    "digitalocean:index/reservedIpAssignment:ReservedIpAssignment": reservedIpAssignmentKind(cloud),
    "digitalocean:index/spacesBucket:SpacesBucket": spacesBucketKind(cloud),
    "digitalocean:index/spacesBucketObject:SpacesBucketObject": spacesBucketObjectKind(cloud),
    "digitalocean:index/spacesKey:SpacesKey": spacesKeyKind(cloud),
    "digitalocean:index/sshKey:SshKey": sshKeyKind(cloud),
    "digitalocean:index/tag:Tag": tagKind(cloud),
    "digitalocean:index/vpc:Vpc": vpcKind(cloud),
  };
}
