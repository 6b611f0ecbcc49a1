import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { after, before, test } from "node:test";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { createNetwork, metadataPort, type Router } from "../../local-cloud/network/router.ts";
import type { DropletFirewall, ResolvedRule } from "../../local-cloud/types.ts";
import { leftOnMachine } from "./left-on-machine.ts";
import { beside, connectFromLaptop, NetworkHost } from "./network-hosts.ts";
import { ownCopy } from "./own-copy.ts";

/** Three hosts: 2 and 3 share a VPC, 4 is in another. Each test leaves them without firewalls. */
let settings: LocalCloudSettings;
let network: Router;
let two: NetworkHost;
let three: NetworkHost;
let four: NetworkHost;
let metadata: Server;
let rulesetBefore: string;
let forwardingBefore: string;

before(async () => {
  settings = await ownCopy();
  rulesetBefore = execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" });
  forwardingBefore = laptopForwarding();
  network = createNetwork(settings, () => {});
  await network.start();
  two = await NetworkHost.attach(network, 2, "10.1.0");
  three = await NetworkHost.attach(network, 3, "10.1.0");
  four = await NetworkHost.attach(network, 4, "10.2.0");
  await Promise.all([two.serve(80, 81), three.serve(80, 81), four.serve(80, 81)]);
  metadata = createServer((request, response) => response.end(`${request.socket.remoteAddress} asks`));
  await new Promise<void>((resolve) => metadata.listen(metadataPort, network.hostAddress, resolve));
});

after(async () => {
  await Promise.all([two, three, four].map((host) => host.end()));
  metadata.closeAllConnections();
  metadata.close();
  await network.stop();
  rmSync(settings.home, { recursive: true, force: true });
});

const anywhere = ["0.0.0.0/0", "::/0"];
const rule = (
  protocol: ResolvedRule["protocol"],
  port?: number,
  addresses: readonly string[] = anywhere,
): ResolvedRule => ({
  protocol,
  ...(port !== undefined && { ports: { from: port, to: port } }),
  addresses,
});

/** Holds these firewalls while `action` runs. */
async function withFirewalls(firewalls: readonly DropletFirewall[], action: () => Promise<void>): Promise<void> {
  await network.applyFirewalls(firewalls);
  try {
    await action();
  } finally {
    await network.applyFirewalls([]);
  }
}

test("droplets without a firewall reach each other and are reached from the laptop, seen with their own addresses", async () => {
  assert.equal(await two.connect(three.address, 80), two.address);
  assert.equal(await three.send(two.address, 81), three.address);
  assert.equal(await two.ping(three.address), true);
  assert.equal(await connectFromLaptop(two.address, 80), network.hostAddress);
});

test("nothing beyond the local cloud is reached, and that is said at once", async () => {
  const start = performance.now();
  assert.equal(await two.connect("192.0.2.1", 80), "refused");
  assert.equal(await two.connect("8.8.8.8", 53), "refused");
  assert.equal(await two.connect("127.0.0.1", settings.ports.api), "refused");
  assert.ok(performance.now() - start < 3000);
});

test("of the laptop only the local cloud's services are reached", async () => {
  const other = createTcpServer((socket) => socket.end("private"));
  await new Promise<void>((resolve) => other.listen(0, network.hostAddress, resolve));
  const spaces = createTcpServer((socket) => socket.end("spaces"));
  await new Promise<void>((resolve) => spaces.listen(settings.ports.spaces, network.hostAddress, resolve));
  try {
    const { port } = other.address() as { port: number };
    assert.equal(await two.connect(network.hostAddress, port), "refused");
    assert.equal(await two.connect(network.hostAddress, 22), "refused");
    assert.equal(await two.connect(network.hostAddress, settings.ports.spaces), "refused");
    assert.equal(await two.connect(network.hostAddress, 80), "spaces");
    assert.equal(await two.connect(network.hostAddress, metadataPort), "refused");
    // A firewall means the port that the droplet asks for, not the one that it is translated to.
    await withFirewalls([{ dropletId: 2, inbound: [], outbound: [rule("tcp", 80)] }], async () => {
      assert.equal(await two.connect(network.hostAddress, 80), "spaces");
    });
    await withFirewalls([{ dropletId: 2, inbound: [], outbound: [rule("tcp", settings.ports.spaces)] }], async () => {
      assert.equal(await two.connect(network.hostAddress, 80), "no answer");
    });
  } finally {
    other.close();
    spaces.close();
  }
});

test("the metadata service knows each droplet by its address", async () => {
  const fetch = `import urllib.request; print(urllib.request.urlopen("http://169.254.169.254/").read().decode())`;
  assert.equal(await two.python(fetch), `${two.address} asks`);
  assert.equal(await three.python(fetch), `${three.address} asks`);
});

test("a VPC is between its droplets, not between VPCs, and not for the laptop", async () => {
  assert.equal(await two.connect(three.privateNic?.address ?? "", 80), two.privateNic?.address);
  four.runNow("ip route add 10.1.0.0/24 via 10.2.0.1");
  assert.equal(await four.connect(two.privateNic?.address ?? "", 80), "refused");
  two.runNow("ip route add 10.2.0.0/24 via 10.1.0.1");
  assert.equal(await two.connect(four.privateNic?.address ?? "", 80), "refused");
  four.runNow("ip route delete 10.1.0.0/24");
  // By the public interface neither.
  assert.equal(await four.connect(two.privateNic?.address ?? "", 80), "refused");
});

test("a packet with somebody else's address as its sender goes nowhere", async () => {
  const listen = three.python(`
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5000))
s.settimeout(20)
heard = []
while "as-itself" not in heard:
    heard.append(s.recvfrom(100)[0].decode())
print(",".join(heard))
`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  const spoof = (source: string, target: string, word: string) => `
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
data = b"${word}"
udp = struct.pack("!HHHH", 5000, 5000, 8 + len(data), 0) + data
ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, socket.inet_aton("${source}"), socket.inet_aton("${target}"))
s.sendto(ip + udp, ("${target}", 0))
`;
  await two.python(spoof(four.address, three.address, "as-four"));
  await two.python(spoof(network.hostAddress, three.address, "as-laptop"));
  await two.python(spoof("8.8.8.8", three.address, "as-stranger"));
  await two.python(spoof("10.1.0.4", three.privateNic?.address ?? "", "as-neighbour"));
  await two.python(spoof(two.privateNic?.address ?? "", three.address, "by-the-wrong-link"));
  await two.python(spoof(two.address, three.address, "as-itself"));
  assert.equal(await listen, "as-itself");
});

test("in a firewall everything is denied that is not allowed, both ways, on both interfaces", async () => {
  await withFirewalls([{ dropletId: 2, inbound: [rule("tcp", 80)], outbound: [rule("tcp", 81)] }], async () => {
    assert.equal(await three.connect(two.address, 80), three.address);
    assert.equal(await three.connect(two.address, 81), "no answer");
    assert.equal(await three.send(two.address, 80), "no answer");
    assert.equal(await three.ping(two.address), false);
    assert.equal(await three.connect(two.privateNic?.address ?? "", 80), three.privateNic?.address);
    assert.equal(await three.connect(two.privateNic?.address ?? "", 81), "no answer");
    assert.equal(await two.connect(three.address, 81), two.address);
    assert.equal(await two.connect(three.address, 80), "no answer");
    assert.equal(await two.connect(three.privateNic?.address ?? "", 80), "no answer");
    // Droplets in none stay open.
    assert.equal(await three.connect(four.address, 81), three.address);
  });
});

test("rules name addresses and blocks, overlapping ones as well, ranges of ports, and ICMP", async () => {
  const inbound = [
    rule("tcp", 80, [`${three.address}/32`, beside(network.publicBlock.gateway, 0).concat("/24"), "0.0.0.0/0"]),
    { protocol: "tcp", ports: { from: 81, to: 90 }, addresses: [three.address] } as const,
    rule("icmp", undefined, [four.address]),
  ];
  await withFirewalls([{ dropletId: 2, inbound, outbound: [] }], async () => {
    assert.equal(await three.connect(two.address, 80), three.address);
    assert.equal(await three.connect(two.address, 81), three.address);
    assert.equal(await four.connect(two.address, 81), "no answer");
    assert.equal(await four.ping(two.address), true);
    assert.equal(await three.ping(two.address), false);
  });
});

test("a droplet in an empty firewall reaches nothing but its metadata", async () => {
  await withFirewalls([{ dropletId: 2, inbound: [], outbound: [] }], async () => {
    assert.equal(await two.connect(three.address, 80), "no answer");
    assert.equal(await connectFromLaptop(two.address, 80), "no answer");
    const fetch = `import urllib.request; print(urllib.request.urlopen("http://169.254.169.254/", timeout=3).read().decode())`;
    assert.equal(await two.python(fetch), `${two.address} asks`);
  });
});

test("established connections survive a change of the rules, new ones don't come up", async () => {
  const talk = spawn("nsenter", ["--net", `--target=${three.pid}`, "python3", "-u", "-c", talker(two.address)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const said = async () => String((await once(talk.stdout, "data"))[0]).trim();
  assert.equal(await said(), "connected");
  await withFirewalls([{ dropletId: 2, inbound: [], outbound: [] }], async () => {
    talk.stdin.write("still there?\n");
    assert.equal(await said(), "still there?");
    assert.equal(await three.connect(two.address, 80), "no answer");
  });
  talk.stdin.end();
  await once(talk, "exit");
});

const talker = (address: string) => `
import socket, sys
s = socket.create_connection(("${address}", 80), 3)
s.recv(100)
print("connected")
for line in sys.stdin:
    s.sendall(line.strip().encode())
    print(s.recv(100).decode())
`;

test("a firewall holds for a droplet that boots later, from its first packet", async () => {
  await withFirewalls([{ dropletId: 5, inbound: [rule("tcp", 81)], outbound: [rule("udp", 81)] }], async () => {
    const five = await NetworkHost.attach(network, 5);
    try {
      await five.serve(80, 81);
      assert.equal(await two.connect(five.address, 80), "no answer");
      assert.equal(await two.connect(five.address, 81), two.address);
      assert.equal(await five.connect(two.address, 80), "no answer");
      assert.equal(await five.send(two.address, 81), five.address);
    } finally {
      await five.end();
      await network.detachNics(5);
    }
  });
});

test("a wrong rule changes nothing", async () => {
  const good: DropletFirewall = { dropletId: 2, inbound: [rule("tcp", 80)], outbound: [] };
  await withFirewalls([good], async () => {
    const bad = { ...good, inbound: [rule("tcp", 81, ["10.0.0.0/8 accept; add rule"])] };
    await assert.rejects(network.applyFirewalls([bad]), /not an IPv4 address/);
    assert.equal(await three.connect(two.address, 80), three.address);
    assert.equal(await three.connect(two.address, 81), "no answer");
  });
});

test("a reserved address leads to its droplet, from the laptop, from droplets and from itself, until it is taken away", async () => {
  const address = beside(network.publicBlock.gateway, 99);
  assert.equal(await two.connect(address, 80), "no answer");
  await network.applyReservedAddresses([{ address, dropletAddress: three.address }]);
  assert.equal(await connectFromLaptop(address, 80), network.hostAddress);
  assert.equal(await two.connect(address, 80), two.address);
  assert.equal(await three.connect(address, 80), address);
  await network.applyReservedAddresses([{ address, dropletAddress: two.address }]);
  assert.equal(await three.connect(address, 81), three.address);
  await network.applyReservedAddresses([]);
  assert.equal(await connectFromLaptop(address, 81), "refused");
});

test("the firewall of a droplet counts for its reserved address, too", async () => {
  const address = beside(network.publicBlock.gateway, 99);
  await network.applyReservedAddresses([{ address, dropletAddress: three.address }]);
  await withFirewalls([{ dropletId: 3, inbound: [rule("tcp", 81)], outbound: [] }], async () => {
    assert.equal(await connectFromLaptop(address, 80), "no answer");
    assert.equal(await connectFromLaptop(address, 81), network.hostAddress);
  });
  await network.applyReservedAddresses([]);
});

test("addresses come by DHCP, for which a firewall must let UDP 67 out", async () => {
  const { mac, gateway, netmask } = two.publicNic;
  const offered = () => two.python(discover(mac));
  const offer = `${two.address} ${netmask} ${gateway} ${gateway}`;
  assert.equal(await offered(), offer);
  await withFirewalls([{ dropletId: 2, inbound: [], outbound: [rule("tcp", 80)] }], async () => {
    assert.equal(await offered(), "no answer");
  });
  await withFirewalls([{ dropletId: 2, inbound: [], outbound: [rule("udp", 67)] }], async () => {
    assert.equal(await offered(), offer);
  });
});

/** Asks for an address by broadcast; prints address, netmask, router and name server of the offer. */
const discover = (mac: string) => `
import socket, struct
hardware = bytes.fromhex("${mac}".replace(":", ""))
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
s.bind(("0.0.0.0", 68))
s.settimeout(2)
head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x12345678, 0, 0x8000) + bytes(16) + hardware + bytes(10 + 64 + 128)
s.sendto(head + bytes([99, 130, 83, 99, 53, 1, 1, 55, 3, 1, 3, 6, 255]), ("255.255.255.255", 67))
try:
    answer = s.recv(2000)
    options, at = {}, 240
    while answer[at] != 255:
        options[answer[at]] = answer[at + 2 : at + 2 + answer[at + 1]]
        at += 2 + answer[at + 1]
    print(*(socket.inet_ntoa(one) for one in (answer[16:20], options[1], options[3], options[6])))
except TimeoutError:
    print("no answer")
`;

test("DHCP gives a destroyed droplet's address to the next one, and is there again after a crash", async () => {
  const former = await NetworkHost.attach(network, 8);
  const { mac } = former.publicNic;
  const offer = new RegExp(`^${former.address} `);
  try {
    assert.match(await former.python(discover(mac)), offer);
    await former.python(lease(mac, former.address));
    await former.end();
    await network.detachNics(8);
    const next = await NetworkHost.attach(network, 9, undefined, 8);
    assert.notEqual(next.publicNic.mac, mac);
    assert.match(await next.python(discover(next.publicNic.mac)), offer);
    await next.end();
  } finally {
    await former.end();
    await network.detachNics(8);
    await network.detachNics(9);
  }
  const pids = execFileSync("ip", ["netns", "pids", `chillbox-${settings.id}`], { encoding: "utf8" })
    .trim()
    .split("\n");
  assert.equal(pids.length, 1);
  process.kill(Number(pids[0]), "SIGKILL");
  // The first try, after a second, fails for want of its folder.
  const runtime = `/run/chillbox-${settings.id}`;
  renameSync(runtime, `${runtime}.away`);
  await new Promise((resolve) => setTimeout(resolve, 1600));
  renameSync(`${runtime}.away`, runtime);
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.match(await two.python(discover(two.publicNic.mac)), new RegExp(`^${two.address} `));
});

/** Takes an offered address, so that the server notes it down. */
const lease = (mac: string, address: string) => `
import socket, struct
hardware = bytes.fromhex("${mac}".replace(":", ""))
s = socket.socket(type=socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
s.setsockopt(socket.SOL_SOCKET, 25, b"eth0")
s.bind(("0.0.0.0", 68))
s.settimeout(2)
head = struct.pack("!BBBBIHH", 1, 1, 6, 0, 0x12345678, 0, 0x8000) + bytes(16) + hardware + bytes(10 + 64 + 128)
wanted = bytes([50, 4]) + socket.inet_aton("${address}")
s.sendto(head + bytes([99, 130, 83, 99, 53, 1, 3]) + wanted + bytes([255]), ("255.255.255.255", 67))
s.recv(2000)
`;

test("an address that nobody has is refused at once", async () => {
  assert.equal(await connectFromLaptop(beside(network.publicBlock.gateway, 77), 80), "refused");
});

test("IPv6 goes nowhere", async () => {
  two.runNow("ip -6 address add fd00:1::2/64 dev eth0 nodad");
  three.runNow("ip -6 address add fd00:1::3/64 dev eth0 nodad");
  const connect = `
import socket
s = socket.socket(socket.AF_INET6)
s.settimeout(1)
try:
    s.connect(("fd00:1::3", 80))
    print("connected")
except OSError:
    print("no")
`;
  assert.equal(await two.python(connect), "no");
});

test("a droplet that boots again at once takes its link over", async () => {
  const first = await NetworkHost.attach(network, 6);
  await first.end();
  const second = await NetworkHost.attach(network, 6);
  try {
    await second.serve(80);
    assert.equal(await two.connect(second.address, 80), two.address);
  } finally {
    await second.end();
    await network.detachNics(6);
  }
});

test("twenty changes at once all hold in the end", async () => {
  const firewalls = Array.from({ length: 20 }, (_, index): DropletFirewall[] => [
    { dropletId: 2, inbound: [rule("tcp", index === 19 ? 81 : 80)], outbound: [] },
  ]);
  await Promise.all(firewalls.map((one) => network.applyFirewalls(one)));
  assert.equal(await three.connect(two.address, 80), "no answer");
  assert.equal(await three.connect(two.address, 81), three.address);
  await network.applyFirewalls([]);
});

test("the laptop's own rules and sysctls are as before, and a stop leaves nothing", async () => {
  assert.equal(execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" }), rulesetBefore);
  assert.equal(laptopForwarding(), forwardingBefore);
  await Promise.all([two, three, four].map((host) => host.end()));
  await network.stop();
  assert.deepEqual(
    leftOnMachine(settings).filter((line) => !line.startsWith("process")),
    [],
  );
  assert.equal(existsSync(`/run/netns/chillbox-${settings.id}`), false);
});

test("a start takes away what a killed one has left", async () => {
  await network.start();
  const again = createNetwork(settings, () => {});
  await again.start();
  const host = await NetworkHost.attach(again, 7);
  try {
    await host.serve(80);
    assert.equal(await connectFromLaptop(host.address, 80), again.hostAddress);
  } finally {
    await host.end();
    await again.stop();
  }
});

function laptopForwarding(): string {
  return ["ip_forward", "conf/all/rp_filter", "conf/all/proxy_arp", "conf/default/proxy_arp"]
    .map((name) => readFileSync(`/proc/sys/net/ipv4/${name}`, "utf8").trim())
    .join(" ");
}
