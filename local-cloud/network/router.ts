import { mkdir, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { UserError } from "../../lib/user-error.ts";
import { run, tryRun } from "../run.ts";
import type { DropletFirewall, Network, Nic, ReservedAddress } from "../types.ts";
import { createDhcp } from "./dhcp.ts";
import { addressPlan } from "./plan.ts";
import { type HostService, linkName, type RouterLink, type RouterState, renderRuleset, uplink } from "./ruleset.ts";

/** Port at the host address where the metadata service listens. */
export const metadataPort = 8169;

/** What drivers need beyond `Network`. */
export interface Router extends Network {
  /**
   * Gives the network namespace of process `pid` the interface `eth<index>`, still down, with the rules for it in place. Without a
   * process the router's end is a tap device, which is for the program to open that is the droplet's card.
   * @returns the name of the router's end.
   */
  attachNic(dropletId: number, index: 0 | 1, nic: Nic, pid?: number): Promise<string>;
  /**
   * Asks from the droplets' side for the laptop's TCP port, which may be closed or open.
   * @throws UserError when no answer comes: the laptop has a firewall that drops it.
   */
  checkWayToHost(port: number): Promise<void>;
  /** Takes away both interfaces of a droplet and what the router knows of them. */
  detachNics(dropletId: number): Promise<void>;
}

/** Name of this copy's router namespace, and of the laptop's link to it (15 characters, the longest that Linux takes). */
export function routerName(settings: LocalCloudSettings): string {
  return `chillbox-${settings.id}`;
}

/**
 * The services of the laptop that droplets reach at the host address. They listen there on the ports that they also have on
 * 127.0.0.1, so that nothing of the laptop's own on port 53 or 80 is in the way; the router translates.
 */
export function hostServices(settings: LocalCloudSettings): readonly HostService[] {
  return [
    { protocol: "udp", port: 53, target: settings.ports.dns },
    { protocol: "tcp", port: 53, target: settings.ports.dns },
    { protocol: "tcp", port: 80, target: settings.ports.spaces },
    { protocol: "tcp", port: 443, target: settings.ports.acme },
  ];
}

/**
 * The router of one copy of the local cloud: a network namespace with forwarding, nftables and DHCP of its own. The laptop gets one
 * link, one address and one route; its ruleset and its sysctls stay as they are.
 */
export function createNetwork(settings: LocalCloudSettings, log: (line: string) => void): Router {
  const plan = addressPlan(settings.addressRange);
  const name = routerName(settings);
  const dhcp = createDhcp(settings, plan, name, log);
  const links = new Map<string, RouterLink & { readonly nic: Nic }>();
  let firewalls: readonly DropletFirewall[] = [];
  let reserved: readonly ReservedAddress[] = [];
  let queue: Promise<unknown> = Promise.resolve();

  /** One change at a time, in the order of the calls. */
  function inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = queue.then(action);
    queue = result.catch(() => {});
    return result;
  }

  function state(): RouterState {
    return {
      hostAddress: plan.hostAddress,
      metadataPort,
      services: hostServices(settings),
      links: [...links.values()],
      firewalls,
      reserved,
    };
  }

  async function apply(next: RouterState): Promise<void> {
    await inRouter(name, ["nft", "-f", "-"], renderRuleset(next));
  }

  async function start(): Promise<void> {
    await removeRouter(name);
    await noteNamespaceFolder(name);
    await run("ip", ["netns", "add", name]);
    await inRouter(name, ["sh", "-c", routerSysctls]);
    await run("ip", ["-batch", "-"], lines(`link add ${name} type veth peer name ${uplink} netns ${name}`));
    await apply(state());
    await run(
      "ip",
      ["-netns", name, "-batch", "-"],
      lines(
        "link set lo up",
        `address add ${plan.routerAddress}/32 dev ${uplink}`,
        `link set ${uplink} up`,
        `route add ${plan.hostAddress}/32 dev ${uplink}`,
        `route add unreachable ${plan.range}`,
      ),
    );
    await run(
      "ip",
      ["-batch", "-"],
      lines(
        `address add ${plan.hostAddress}/32 dev ${name}`,
        `link set ${name} up`,
        `route add ${plan.range} via ${plan.routerAddress} dev ${name} onlink src ${plan.hostAddress}`,
      ),
    );
    await dhcp.start();
    log(`network: ${plan.range} by ${name}, laptop is ${plan.hostAddress}`);
  }

  async function attachNic(dropletId: number, index: 0 | 1, nic: Nic, pid?: number): Promise<string> {
    const link = linkName(dropletId, index);
    links.set(link, { dropletId, index, address: nic.address, netmask: nic.netmask, nic });
    await apply(state());
    await dhcp.setHosts(leases());
    // The end of a droplet's last boot goes away with its namespace, which the kernel takes a moment for.
    await tryRun("ip", ["-netns", name, "link", "delete", link]);
    await run(
      "ip",
      ["-netns", name, "-batch", "-"],
      lines(
        pid === undefined
          ? `tuntap add dev ${link} mode tap vnet_hdr`
          : `link add ${link} type veth peer name eth${index} address ${nic.mac} netns ${pid}`,
        // `noprefixroute`: dnsmasq wants to see the block on the link, while the route is for one droplet only.
        `address add ${nic.gateway}/${prefixLength(nic.netmask)} dev ${link} noprefixroute`,
        `link set ${link} up`,
        `route add ${nic.address}/32 dev ${link}`,
      ),
    );
    // Else the router waits up to 0.8 s before it answers for a neighbour. There is no default to set it at in a namespace.
    await inRouter(name, ["sh", "-c", `echo 0 > /proc/sys/net/ipv4/neigh/${link}/proxy_delay`]);
    return link;
  }

  async function detachNics(dropletId: number): Promise<void> {
    for (const index of [0, 1] as const) {
      const link = linkName(dropletId, index);
      if (links.delete(link)) {
        await tryRun("ip", ["-netns", name, "link", "delete", link]);
      }
    }
    await apply(state());
    await dhcp.setHosts(leases());
  }

  function leases() {
    return [...links.values()]
      .filter((link) => link.index === 0)
      .map(({ nic, dropletId }) => ({ mac: nic.mac, address: nic.address, name: `droplet-${dropletId}` }));
  }

  async function applyReservedAddresses(mappings: readonly ReservedAddress[]): Promise<void> {
    await apply({ ...state(), reserved: mappings });
    const gone = reserved.filter((old) => !mappings.some((mapping) => mapping.address === old.address));
    reserved = [...mappings];
    // The route makes the router answer ARP for the address; it points away from the droplets because proxy ARP asks for that.
    const changes = [
      ...gone.map(({ address }) => `route delete ${address}/32 dev ${uplink}`),
      ...mappings.map(({ address }) => `route replace ${address}/32 dev ${uplink}`),
    ];
    await run("ip", ["-netns", name, "-force", "-batch", "-"], lines(...changes));
  }

  async function checkWayToHost(port: number): Promise<void> {
    const { code } = await tryRun("ip", [
      "netns",
      "exec",
      name,
      "python3",
      "-I",
      "-c",
      connect,
      plan.hostAddress,
      `${port}`,
    ]);
    if (code !== 0) {
      throw new UserError(
        `This machine's firewall drops what droplets send to it. Allow what comes in by the link ${name}, for example: ufw allow in on ${name}, or: iptables -I INPUT -i ${name} -j ACCEPT`,
      );
    }
  }

  return {
    checkWayToHost,
    hostAddress: plan.hostAddress,
    publicBlock: plan.publicBlock,
    vpcBlock: plan.vpcBlock,
    start: () => inTurn(start),
    stop: () =>
      inTurn(async () => {
        await dhcp.stop();
        await removeRouter(name);
        links.clear();
      }),
    applyFirewalls: (wanted) =>
      inTurn(async () => {
        await apply({ ...state(), firewalls: wanted });
        firewalls = [...wanted];
      }),
    applyReservedAddresses: (mappings) => inTurn(() => applyReservedAddresses(mappings)),
    attachNic: (dropletId, index, nic, pid) => inTurn(() => attachNic(dropletId, index, nic, pid)),
    detachNics: (dropletId) => inTurn(() => detachNics(dropletId)),
  };
}

/** Removes what a router of this name has left: its processes, its namespace, its link and, with the link, the laptop's route. */
export async function removeRouter(name: string): Promise<void> {
  const pids = await tryRun("ip", ["netns", "pids", name]);
  for (const pid of pids.stdout
    .split("\n")
    .map(Number)
    .filter((value) => value > 1)) {
    await killInNamespace(pid, name);
  }
  await tryRun("ip", ["link", "delete", name]);
  await tryRun("ip", ["netns", "delete", name]);
  await removeNamespaceFolder(name);
  await rm(`/run/${name}`, { recursive: true, force: true });
}

const namespaceFolder = "/run/netns";
const folderMark = (name: string) => `/run/${name}/made-namespace-folder`;

/** `ip netns add` makes a mount of its own folder when it is the first on a machine. Notes that it is going to. */
async function noteNamespaceFolder(name: string): Promise<void> {
  await mkdir(`/run/${name}`, { recursive: true });
  const mounts = await readFile("/proc/self/mounts", "utf8");
  if (!mounts.includes(` ${namespaceFolder} `)) {
    await writeFile(folderMark(name), "");
  }
}

/** Takes that mount away again when nobody else uses it by now. */
async function removeNamespaceFolder(name: string): Promise<void> {
  const isOurs = await readFile(folderMark(name)).then(
    () => true,
    () => false,
  );
  const inUse = await readdir(namespaceFolder).catch(() => ["unknown"]);
  if (isOurs && inUse.length === 0) {
    await tryRun("umount", [namespaceFolder]);
    await rmdir(namespaceFolder).catch(() => {});
  }
}

/** Only a process that still lives in our namespace is ended: the number may have been given to another one meanwhile. */
async function killInNamespace(pid: number, name: string): Promise<void> {
  const inside = (await tryRun("ip", ["netns", "identify", `${pid}`])).stdout.trim();
  if (inside === name) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has ended by itself
    }
  }
}

/** Whether a router of this name, or a part of one, is there. */
export async function routerExists(name: string): Promise<boolean> {
  const namespaces = await run("ip", ["netns", "list"]);
  const devices = await readFile("/proc/net/dev", "utf8");
  return namespaces.split("\n").some((line) => line.split(" ")[0] === name) || devices.includes(`${name}:`);
}

function inRouter(name: string, command: readonly string[], input = ""): Promise<string> {
  return run("ip", ["netns", "exec", name, ...command], input);
}

/**
 * `proxy_arp`: droplets take each other for neighbours on one wire, while every packet crosses the router's rules.
 * Written at `default` as well, from where new links have them.
 */
const routerSysctls = `set -eu
cd /proc/sys/net
echo 1 > ipv4/ip_forward
for scope in all default; do
  echo 1 > ipv6/conf/$scope/disable_ipv6 2>/dev/null || true
  echo 0 > ipv4/conf/$scope/rp_filter
  echo 0 > ipv4/conf/$scope/send_redirects
done
echo 1 > ipv4/conf/default/proxy_arp
`;

/** Ends with 0 when the port is open or refused, with 1 when there is no answer. */
const connect = `
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
except ConnectionRefusedError:
    pass
`;

function lines(...commands: readonly string[]): string {
  return `${commands.join("\n")}\n`;
}

function prefixLength(netmask: string): number {
  return netmask
    .split(".")
    .map((part) => Number(part).toString(2).replaceAll("0", "").length)
    .reduce((sum, bits) => sum + bits, 0);
}
