import { createHash } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "./user-error.ts";

/** Where one copy of the local DigitalOcean keeps its data and which ports, addresses and names it uses. */
export interface LocalCloudSettings {
  /** Root of the repository: absolute path. */
  readonly repository: string;
  /** Folder of everything generated for this copy (`CHILLBOX_HOME`, default `<repository>/.chillbox`): absolute path. */
  readonly home: string;
  /** `<home>/cloud`: data of the local cloud. */
  readonly cloud: string;
  /** Six hex digits that tell copies apart: part of the name of every namespace, link, cgroup and lock. */
  readonly id: string;
  /** Addresses for droplets, in CIDR notation (`CHILLBOX_ADDRESS_RANGE`, default `198.18.0.0/18`, of RFC 2544's test range). */
  readonly addressRange: string;
  /**
   * How droplets are run (`CHILLBOX_DROPLET_DRIVER`, default `namespace`): in namespaces of the laptop's kernel, or by `qemu` as machines
   * with a kernel of their own.
   */
  readonly dropletDriver: "namespace" | "qemu";
  /** TCP ports on 127.0.0.1; `dns` is UDP as well. */
  readonly ports: Readonly<Record<"gateway" | "api" | "spaces" | "dns" | "acme" | "acmeRoot" | "gatewayTls", number>>;
  /** The public API's base URL, without a path. */
  readonly apiEndpoint: string;
  /** HTTP proxy through which the laptop reaches names under `.spaces.test`. */
  readonly spacesProxy: string;
}

const repository = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * The settings of this copy of the local cloud, from the environment:
 * `CHILLBOX_HOME`, `CHILLBOX_PORT_BASE` (default 8080; the gateway's port, the others follow it), `CHILLBOX_ADDRESS_RANGE` and
 * `CHILLBOX_DROPLET_DRIVER`.
 * @throws UserError when a variable has a value that cannot be used.
 */
export function localCloudSettings(environment: NodeJS.ProcessEnv = process.env): LocalCloudSettings {
  const home = resolve(environment.CHILLBOX_HOME ?? join(repository, ".chillbox"));
  const base = readPortBase(environment.CHILLBOX_PORT_BASE ?? "8080");
  const ports = {
    gateway: base,
    api: base + 1,
    spaces: base + 2,
    dns: base + 3,
    acme: base + 4,
    acmeRoot: base + 5,
    gatewayTls: base + 363,
  };
  return {
    repository,
    home,
    cloud: join(home, "cloud"),
    id: createHash("sha256").update(home).digest("hex").slice(0, 6),
    addressRange: environment.CHILLBOX_ADDRESS_RANGE ?? "198.18.0.0/18",
    dropletDriver: readDriver(environment.CHILLBOX_DROPLET_DRIVER ?? "namespace"),
    ports,
    apiEndpoint: `http://127.0.0.1:${ports.api}`,
    spacesProxy: `http://127.0.0.1:${ports.spaces}`,
  };
}

function readPortBase(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1024 || port > 65000) {
    throw new UserError(`CHILLBOX_PORT_BASE is "${text}": give a port between 1024 and 65000.`);
  }
  return port;
}

function readDriver(text: string): LocalCloudSettings["dropletDriver"] {
  if (text !== "namespace" && text !== "qemu") {
    throw new UserError(`CHILLBOX_DROPLET_DRIVER is "${text}": give namespace or qemu.`);
  }
  return text;
}

/** The host name and port under which a browser on this machine finds a site of the local cloud. */
export function gatewayHost(
  { ports }: LocalCloudSettings,
  { domains, serverName }: { readonly domains: readonly string[]; readonly serverName: string },
): string {
  return `${domains[0] ?? serverName}.localhost:${ports.gateway}`;
}
