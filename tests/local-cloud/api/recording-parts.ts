import type {
  DropletDriver,
  DropletFirewall,
  DropletSpec,
  Network,
  ReservedAddress,
} from "../../../local-cloud/types.ts";

/** A driver that makes nothing and remembers what it was told: the real one has tests of its own, and the end-to-end tests join them. */
export class RecordingDriver implements DropletDriver {
  readonly calls: string[] = [];
  readonly specs = new Map<number, DropletSpec>();
  readonly running = new Set<number>();
  /** Calls whose name is in here fail. */
  readonly failing = new Set<string>();
  /** Calls end only once this has. */
  gate: Promise<unknown> = Promise.resolve();
  #listeners: ((id: number, running: boolean) => void)[] = [];

  async create(spec: DropletSpec): Promise<void> {
    await this.#record("create", spec.id);
    this.specs.set(spec.id, spec);
  }
  async powerOn(spec: DropletSpec): Promise<void> {
    await this.#record("powerOn", spec.id);
    this.specs.set(spec.id, spec);
    this.running.add(spec.id);
  }
  async powerOff(id: number): Promise<void> {
    await this.#record("powerOff", id);
    this.running.delete(id);
  }
  async shutdown(id: number): Promise<void> {
    await this.#record("shutdown", id);
    this.running.delete(id);
  }
  async reboot(spec: DropletSpec): Promise<void> {
    await this.#record("reboot", spec.id);
    this.running.add(spec.id);
  }
  async destroy(id: number): Promise<void> {
    await this.#record("destroy", id);
    this.running.delete(id);
    this.specs.delete(id);
  }
  isRunning(id: number): boolean {
    return this.running.has(id);
  }
  onChange(listener: (id: number, running: boolean) => void): void {
    this.#listeners.push(listener);
  }
  /** Holds all calls back until the function that it returns is called. */
  hold(): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gate = promise;
    return resolve;
  }
  /** What a `poweroff` or a boot inside the droplet does. */
  change(id: number, running: boolean): void {
    if (running) this.running.add(id);
    else this.running.delete(id);
    for (const listener of this.#listeners) listener(id, running);
  }

  async #record(name: string, id: number): Promise<void> {
    this.calls.push(`${name} ${id}`);
    await this.gate;
    if (this.failing.has(name)) throw new Error(`${name} fails, as the test wants`);
  }
}

/** A network that only remembers. */
export class RecordingNetwork implements Network {
  readonly hostAddress = "198.18.63.254";
  readonly publicBlock = { cidr: "198.18.0.0/24", netmask: "255.255.255.0", gateway: "198.18.0.1" };
  readonly vpcBlock = "198.18.32.0/19";
  firewalls: readonly DropletFirewall[] = [];
  reserved: readonly ReservedAddress[] = [];
  failing = false;

  async start(): Promise<void> {}
  async stop(): Promise<void> {}
  async applyFirewalls(firewalls: readonly DropletFirewall[]): Promise<void> {
    if (this.failing) throw new Error("the network fails, as the test wants");
    this.firewalls = firewalls;
  }
  async applyReservedAddresses(mappings: readonly ReservedAddress[]): Promise<void> {
    if (this.failing) throw new Error("the network fails, as the test wants");
    this.reserved = mappings;
  }
}
