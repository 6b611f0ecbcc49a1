import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { findAccelerator } from "../../local-cloud/droplets/accelerator.ts";
import { findCgroups, makeDropletGroups, removeGroups } from "../../local-cloud/droplets/cgroups.ts";
import type { Ending, Machine } from "../../local-cloud/droplets/machine.ts";
import { launch } from "../../local-cloud/droplets/namespaces.ts";
import { qemuCommand, startQemu } from "../../local-cloud/droplets/qemu.ts";
import { rawImage } from "./raw-image.ts";

const address = "198.18.200.2";
const vpcAddress = "198.18.201.2";
const uidBase = 1_000_000_000;
const cards = [
  { inside: "eth0", outside: "host0", mac: "04:01:00:00:00:02", own: "198.18.200.1/24" },
  { inside: "eth1", outside: "host1", mac: "04:01:00:00:00:03", own: "198.18.201.1/24" },
] as const;

/** One host booted from the image with the local cloud's launcher, alone in a network of its own with DHCP and metadata. */
export class TestHost {
  readonly folder = mkdtempSync(join(tmpdir(), "chillbox-image-"));
  readonly namespace = `chillbox-image-${process.pid}`;
  readonly address = address;
  readonly vpcAddress = vpcAddress;
  #children: ChildProcess[] = [];
  #machine: Machine | undefined;
  #consoleStart = 0;
  readonly #memoryMiB: number | undefined;

  /** @param options.memoryMiB of its plan; default: as much as there is */
  constructor(options: { memoryMiB?: number } = {}) {
    this.#memoryMiB = options.memoryMiB;
  }

  /** Of the host's init, out here. */
  get pid(): number {
    return this.#machine?.pid ?? 0;
  }

  /** Unpacks the image to a disk of 2 GiB, and makes the network and what answers in it. */
  async prepare(imagePath: string, metadata: Record<string, unknown>): Promise<void> {
    await rawImage(imagePath, this.folder);
    execFileSync("truncate", ["-s", "2G", this.path("disk.raw")]);
    execFileSync("resize2fs", [this.path("disk.raw")], { stdio: "ignore" });
    mkdirSync(this.path("mount"));
    // The host's root is an unprivileged user out here, and must reach its mount point.
    chmodSync(this.folder, 0o711);
    for (const name of ["key", "provisional", "own"]) {
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", this.path(name)]);
    }
    this.setMetadata(metadata);
    this.#ip("netns", "add", this.namespace);
    this.#ip("-n", this.namespace, "link", "set", "lo", "up");
    this.#ip("-n", this.namespace, "addr", "add", "169.254.169.254/32", "dev", "lo");
    const server = this.#inNetwork(process.execPath, [
      join(import.meta.dirname, "metadata-server.ts"),
      "169.254.169.254",
      "80",
      this.path("metadata.json"),
    ]);
    await new Promise((done) => server.stdout?.once("data", done));
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  text(name: string): string {
    return readFileSync(this.path(name), "utf8").trim();
  }

  setMetadata(values: Record<string, unknown>): void {
    writeFileSync(this.path("metadata.json"), JSON.stringify(values));
  }

  /** Powers on; resolves when init runs. */
  async boot(): Promise<void> {
    this.#consoleStart = existsSync(this.path("console.log")) ? this.text("console.log").length : 0;
    const machine = await launch(
      {
        disk: this.path("disk.raw"),
        mountPoint: this.path("mount"),
        uidBase,
        hostname: "unnamed",
        ...(await this.#cgroups()),
        console: this.path("console.log"),
      },
      (line) => console.error(line),
    );
    this.#machine = machine;
    this.#connect(machine.pid);
    machine.start();
  }

  /** Powers on with a kernel of its own, in qemu; resolves when the machine runs. */
  async bootQemu(): Promise<void> {
    this.#consoleStart = existsSync(this.path("console.log")) ? this.text("console.log").length : 0;
    const taps = this.#connect();
    this.#machine = await startQemu({
      uid: uidBase,
      cgroups: [],
      disk: this.path("disk.raw"),
      router: this.namespace,
      taps,
      command: qemuCommand({ memoryMiB: 1024, vcpus: 1 }, cards, await findAccelerator(() => {})),
      console: this.path("console.log"),
      log: (line) => console.error(line),
    });
  }

  /** Waits until init has ended, and says how. */
  async ended(): Promise<Ending> {
    return (await this.#machine?.ended) ?? "killed";
  }

  /** Pulls the plug. */
  async kill(): Promise<void> {
    this.#machine?.kill();
    await this.ended();
  }

  /** Waits until ssh answers; gives the milliseconds since the call. */
  async waitForSsh(hostKey = "provisional"): Promise<number> {
    const start = performance.now();
    for (;;) {
      try {
        this.ssh("true", hostKey);
        return Math.round(performance.now() - start);
      } catch (error) {
        if (performance.now() - start > 20_000) throw new Error(`${error}\n${this.lastBoot()}`);
        await sleep(50);
      }
    }
  }

  /** Waits until the console of this boot says this. */
  async waitForConsole(text: string): Promise<void> {
    for (let waited = 0; !this.lastBoot().includes(text); waited += 100) {
      if (waited > 20_000) throw new Error(`No "${text}" on the console:\n${this.lastBoot()}`);
      await sleep(100);
    }
  }

  /** The console's text since the last power-on. */
  lastBoot(): string {
    return this.text("console.log").slice(this.#consoleStart);
  }

  /** The public part of one of the key files here: type and base64. */
  publicPart(name: string): string {
    return this.text(`${name}.pub`).split(" ").slice(0, 2).join(" ");
  }

  /** Every host key that sshd offers, of any type. */
  offeredHostKeys(): string[] {
    const scan = ["netns", "exec", this.namespace, "ssh-keyscan", "-T", "2", address];
    const lines = spawnSync("ip", scan, { encoding: "utf8" }).stdout.split("\n");
    return lines.filter((line) => line.startsWith(address)).map((line) => line.split(" ").slice(1, 3).join(" "));
  }

  /** Copies a file from here to the host, 0600. */
  writeRemote(name: string, path: string): void {
    this.ssh(`umask 077; cat > ${path} <<'TEXT'\n${this.text(name)}\nTEXT`);
  }

  /** Runs a command by ssh as root, with the host key pinned; answers its stdout. */
  ssh(command: string, hostKey = "provisional"): string {
    writeFileSync(this.path("known_hosts"), `${address} ${this.text(`${hostKey}.pub`)}\n`);
    const options = [
      "StrictHostKeyChecking=yes",
      `UserKnownHostsFile=${this.path("known_hosts")}`,
      "BatchMode=yes",
      "ConnectTimeout=2",
      "LogLevel=ERROR",
    ];
    const args = [
      "-F",
      "none",
      "-i",
      this.path("key"),
      ...options.flatMap((option) => ["-o", option]),
      `root@${address}`,
      command,
    ];
    return execFileSync("ip", ["netns", "exec", this.namespace, "ssh", ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    }).trim();
  }

  /** Ends everything that was started here and removes what was made. */
  async close(): Promise<void> {
    await this.kill();
    for (const child of this.#children) child.kill("SIGKILL");
    if (this.#memoryMiB !== undefined) await removeGroups(await findCgroups(), this.namespace);
    try {
      this.#ip("netns", "del", this.namespace);
    } catch {
      // It was never made.
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #cgroups() {
    if (this.#memoryMiB === undefined) return { cgroups: [], cgroupRoots: [], cgroupVersion: 1 as const };
    const host = await findCgroups();
    const plan = { id: 1, memoryMiB: this.#memoryMiB };
    return {
      cgroups: await makeDropletGroups(host, this.namespace, plan, uidBase),
      cgroupRoots: host.hierarchies.map(({ path }) => path),
      cgroupVersion: host.version,
    };
  }

  /** Cables to the network namespace of a process, or tap devices; answers the names of the ends out here. */
  #connect(pid?: number): string[] {
    for (const { inside, outside, mac, own } of cards) {
      spawnSync("ip", ["-n", this.namespace, "link", "delete", outside]); // of the last boot
      const cable = ["link", "add", outside, "type", "veth", "peer", "name", inside, "address", mac, "netns", `${pid}`];
      const tap = ["tuntap", "add", "dev", outside, "mode", "tap", "vnet_hdr"];
      this.#ip("-n", this.namespace, ...(pid === undefined ? tap : cable));
      this.#ip("-n", this.namespace, "addr", "add", own, "dev", outside);
      this.#ip("-n", this.namespace, "link", "set", outside, "up");
    }
    const dhcp = `--dhcp-range=${address},${address},255.255.255.0,1h`;
    const options = [
      "--keep-in-foreground",
      "--conf-file=/dev/null",
      "--port=0",
      "--interface=host0",
      "--bind-interfaces",
      "--no-ping",
      dhcp,
    ];
    const files = [`--dhcp-leasefile=${this.path("leases")}`, "--pid-file=", "--user=root"];
    for (const old of this.#children.splice(1)) old.kill("SIGKILL");
    this.#inNetwork("dnsmasq", [...options, "--dhcp-option=3,198.18.200.1", "--dhcp-option=6,198.18.200.1", ...files]);
    return cards.map(({ outside }) => outside);
  }

  #inNetwork(command: string, args: string[]): ChildProcess {
    const child = spawn("ip", ["netns", "exec", this.namespace, command, ...args], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#children.push(child);
    return child;
  }

  #ip(...args: string[]): void {
    execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
  }
}
