import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";
import type { Router } from "../../local-cloud/network/router.ts";
import type { Nic } from "../../local-cloud/types.ts";

const execute = promisify(execFile);

/** A host on the router that is nothing but a network namespace, so that a test of the network needs no boot. */
export class NetworkHost {
  readonly id: number;
  readonly publicNic: Nic;
  readonly privateNic: Nic | undefined;
  readonly #keeper: ChildProcess;
  readonly #servers: ChildProcess[] = [];

  private constructor(id: number, publicNic: Nic, privateNic: Nic | undefined, keeper: ChildProcess) {
    this.id = id;
    this.publicNic = publicNic;
    this.privateNic = privateNic;
    this.#keeper = keeper;
  }

  /**
   * Attaches host number `id` (2 to 200).
   * @param vpc gives it an interface in this VPC, a /24, like `10.1.0`
   * @param number its address's last part; default: `id`
   */
  static async attach(router: Router, id: number, vpc?: string, number = id): Promise<NetworkHost> {
    const keeper = spawn("unshare", ["--net", "sh", "-c", "echo ready; exec sleep 1000"], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(keeper.stdout, "data");
    const { gateway, netmask } = router.publicBlock;
    const hex = id.toString(16).padStart(2, "0");
    const publicNic = { mac: `04:01:00:00:00:${hex}`, address: beside(gateway, number), netmask, gateway };
    const privateNic =
      vpc === undefined
        ? undefined
        : { mac: `04:01:00:00:01:${hex}`, address: `${vpc}.${id}`, netmask: "255.255.255.0", gateway: `${vpc}.1` };
    const host = new NetworkHost(id, publicNic, privateNic, keeper);
    await router.attachNic(id, 0, publicNic, host.pid);
    if (privateNic) {
      await router.attachNic(id, 1, privateNic, host.pid);
    }
    host.#configure();
    return host;
  }

  get pid(): number {
    return this.#keeper.pid ?? 0;
  }

  get address(): string {
    return this.publicNic.address;
  }

  #configure(): void {
    this.runNow("ip link set lo up");
    for (const [name, nic] of [["eth0", this.publicNic] as const, ["eth1", this.privateNic] as const]) {
      if (nic) {
        this.runNow(`ip address add ${nic.address}/${bits(nic.netmask)} dev ${name} && ip link set ${name} up`);
      }
    }
    this.runNow(`ip route add default via ${this.publicNic.gateway}`);
  }

  /** Runs a shell command in the host's network. */
  runNow(command: string): string {
    return execFileSync("nsenter", ["--net", `--target=${this.pid}`, "sh", "-c", command], { encoding: "utf8" });
  }

  /** Runs a Python program in the host's network; answers its output. */
  async python(program: string): Promise<string> {
    const { stdout } = await execute("nsenter", ["--net", `--target=${this.pid}`, "python3", "-c", program]);
    return stdout.trim();
  }

  /** Answers every TCP connection and every datagram to these ports with the sender's address, and keeps connections open. */
  async serve(...ports: number[]): Promise<void> {
    const server = spawn(
      "nsenter",
      ["--net", `--target=${this.pid}`, "python3", "-c", echoServer, ...ports.map(String)],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    this.#servers.push(server);
    await once(server.stdout, "data");
  }

  /** Connects by TCP; answers what the server says (the address that it sees), `refused` or `no answer`. */
  connect(address: string, port: number): Promise<string> {
    return this.python(tcpClient(address, port));
  }

  /** Sends a datagram; answers what comes back, or `no answer`. */
  send(address: string, port: number): Promise<string> {
    return this.python(udpClient(address, port));
  }

  /** `true` when an echo request is answered. */
  ping(address: string): Promise<boolean> {
    return this.python(pingClient(address)).then((text) => text === "answered");
  }

  /** Takes the host away as if its machine had ended. */
  async end(): Promise<void> {
    for (const child of [...this.#servers, this.#keeper]) {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }
    }
  }
}

/** Connects from the laptop. */
export async function connectFromLaptop(address: string, port: number): Promise<string> {
  return (await execute("python3", ["-c", tcpClient(address, port)])).stdout.trim();
}

/** The address `offset - 1` after the gateway's. */
export function beside(gateway: string, offset: number): string {
  return gateway.replace(/\.1$/, `.${offset}`);
}

function bits(netmask: string): number {
  return netmask.split(".").reduce((sum, part) => sum + Number(part).toString(2).replaceAll("0", "").length, 0);
}

const tcpClient = (address: string, port: number) => `
import socket
s = socket.socket()
s.settimeout(1.5)
try:
    s.connect(("${address}", ${port}))
    print(s.recv(100).decode())
except TimeoutError:
    print("no answer")
except OSError:
    print("refused")
`;

const udpClient = (address: string, port: number) => `
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.settimeout(1.5)
s.sendto(b"x", ("${address}", ${port}))
try:
    print(s.recv(100).decode())
except TimeoutError:
    print("no answer")
`;

const pingClient = (address: string) => `
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
s.settimeout(1.5)
body = struct.pack("!BBHHH", 8, 0, 0xf7fd, 1, 1)
s.sendto(body, ("${address}", 0))
try:
    while True:
        packet, sender = s.recvfrom(200)
        if packet[20] == 0:
            print("answered")
            break
        if packet[20] == 3:
            print("refused")
            break
except TimeoutError:
    print("no answer")
`;

const echoServer = `
import selectors, socket, sys
watch = selectors.DefaultSelector()
kept = []
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(type=kind)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            s.listen()
        watch.register(s, selectors.EVENT_READ, "listener" if kind == socket.SOCK_STREAM else "datagrams")
print("ready", flush=True)
while True:
    for key, _ in watch.select():
        if key.data == "listener":
            connection, sender = key.fileobj.accept()
            connection.sendall(sender[0].encode())
            kept.append(connection)
            watch.register(connection, selectors.EVENT_READ, "connection")
        elif key.data == "datagrams":
            data, sender = key.fileobj.recvfrom(100)
            key.fileobj.sendto(sender[0].encode(), sender)
        else:
            data = key.fileobj.recv(100)
            if data:
                key.fileobj.sendall(data)
            else:
                watch.unregister(key.fileobj)
`;
