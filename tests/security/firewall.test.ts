import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Said, TestServer } from "../server-scripts/server.ts";

/** One server for all tests of this file, in their order. */
const server = new TestServer();
const here = "198.18.200.1";

before(
  async () => {
    await server.setUp();
  },
  { timeout: 300_000 },
);
after(() => server.close());

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

/** What Python says about a connection or a datagram that it tries: "open", or the error's name. */
const tries = (address: string, port: number, kind = "tcp") => `
import errno, socket
kind = socket.SOCK_STREAM if "${kind}" == "tcp" else socket.SOCK_DGRAM
with socket.socket(socket.AF_INET, kind) as one:
    one.settimeout(1.5)
    try:
        one.connect(("${address}", ${port}))
        one.send(b"x")
        print("open")
    except TimeoutError:
        print("silent")
    except OSError as error:
        print(errno.errorcode[error.errno])
`;

const fromHere = async (address: string, port: number) =>
  (await server.run(["python3", "-c", tries(address, port)])).out.trim();
const fromServer = async (address: string, port: number, kind?: string) =>
  (await server.ssh("python3 -", tries(address, port, kind))).out.trim();

/** A program here, or on the server, that takes connections at this port for as long as the action takes. */
async function listening<T>(port: number, where: "here" | "server", action: () => Promise<T>): Promise<T> {
  const program = `import socket; s = socket.create_server(("0.0.0.0", ${port})); print("ready", flush=True); s.listen(); import time; time.sleep(60)`;
  const words =
    where === "here"
      ? ["ip", "netns", "exec", server.host.namespace, "python3", "-c", program]
      : ["nsenter", "-t", String(server.host.pid), "-n", "python3", "-c", program];
  const [command = "", ...rest] = words;
  const child = spawn(command, rest, { stdio: ["ignore", "pipe", "inherit"] });
  try {
    await once(child.stdout, "data");
    return await action();
  } finally {
    child.kill("SIGKILL");
    await once(child, "exit");
  }
}

test("nothing comes in but at 22, 80 and 443, whatever listens and on either network", async () => {
  for (const address of [server.host.address, server.host.vpcAddress]) {
    assert.equal(await fromHere(address, 22), "open", address);
    assert.equal(await fromHere(address, 80), "open", address);
    await listening(8080, "server", async () => assert.equal(await fromHere(address, 8080), "silent", address));
  }
});

test("nothing listens beyond 22, 80 and 443 but on loopback", async () => {
  // Each socket of any kind: its local address in hex, and for TCP whether it listens (0A).
  const sockets = await root("cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6");
  const listeners = sockets
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, , remote = "", state]) => state === "0A" || (state === "07" && /:0000$/.test(remote)))
    .map(([, local = ""]) => local)
    .filter((local) => !/^0100007F:|^0{24}01000000:/.test(local));
  const ports = [...new Set(listeners.map((local) => Number.parseInt(local.split(":")[1] ?? "", 16)))];
  assert.deepEqual(
    ports.filter((port) => ![22, 80, 443].includes(port)),
    [],
    sockets,
  );
});

test("nothing goes out but names, time and the web, and what config names", { timeout: 60_000 }, async () => {
  const reach = (port: number, kind?: string) => fromServer(here, port, kind);
  await listening(5432, "here", async () => {
    assert.equal(await reach(80), "open");
    assert.equal(await reach(5432), "ECONNREFUSED", "told at once");
    assert.equal(await reach(5353, "udp"), "EPERM");
    assert.equal(await reach(53, "udp"), "open");
    const outbound = [{ protocol: "tcp", ports: "5000-5500", address: `${here}/32` }];
    const firewall = { sshAllowedAddresses: ["0.0.0.0/0", here], outbound };
    const said = await server.playbook("configure", {}, { firewall, adminPublicKeys: [server.host.text("own.pub")] });
    assert.equal(said.code, 0, said.errors);
    assert.equal(await reach(5432), "open");
    assert.equal(await fromServer("198.18.201.1", 5432), "ECONNREFUSED", "elsewhere");
  });
  assert.equal((await client([], "echo in", "chillbox", "own")).out, "in\n", "a person's key that config names");
  // IPv6 is closed: not even to itself by another address than loopback's.
  assert.match(await root("ip -6 addr show scope global; ip -6 route show default; echo none"), /^none$/);
});

/** The firewall's rules, as the kernel has them, by the server's own nft. */
function ruleset(): string {
  const words = ["-t", String(server.host.pid), "-U", "-m", "-n", "nft", "list", "table", "inet", "chillbox_host"];
  return spawnSync("nsenter", words, { encoding: "utf8" }).stdout;
}

async function until(milliseconds: number, isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + milliseconds; !isSo(); await sleep(200)) assert.ok(Date.now() < end, ruleset());
}

test("a change that locks out is undone by itself, though nobody is left to do it", { timeout: 120_000 }, async () => {
  const rules = await root("cat /etc/chillbox/firewall.nft");
  const firewall = { sshAllowedAddresses: ["203.0.113.1/32"], outbound: [] };
  await server.killPlaybook("configure", "Confirm the firewall over a new connection", { firewall });
  const locked = Date.now();
  // Seen from beside the server: knocking at sshd again and again would have it shut us out, too.
  assert.match(ruleset(), /203\.0\.113\.1/);
  assert.equal(await fromHere(server.host.address, 22), "silent");
  await until(40_000, () => !ruleset().includes("203.0.113.1"));
  assert.ok(Date.now() - locked > 15_000, `${Date.now() - locked} ms`);
  const said = await server.ssh("doas chillbox-firewall confirm");
  assert.equal(said.code, 1);
  assert.match(said.errors, /were undone.*sshAllowedAddresses/);
  assert.equal(await root("cat /etc/chillbox/firewall.nft"), rules);
  assert.equal((await client([], "true", "chillbox", "own")).code, 255, "the key is not in config any more");
  assert.equal(await root("nft list table inet chillbox_host | grep -c 203.0.113.1 || true"), "0");
});

test("an old connection cannot confirm", { timeout: 60_000 }, async () => {
  // One connection, made before the rules: it applies and confirms in one go.
  const input = JSON.stringify({ sshAllowedAddresses: ["0.0.0.0/0", here, "192.0.2.1"], outbound: [] });
  const said = await server.ssh(`echo '${input}' | doas chillbox-firewall apply && doas chillbox-firewall confirm`);
  assert.equal(said.code, 1);
  assert.match(said.errors, /only a connection that was made after/);
  assert.equal((await server.ssh("doas chillbox-firewall confirm")).out.trim(), '{"changed": true}');
});

test("the tables of others stay, and nobody flushes them", async () => {
  const tables = await root("nft list tables");
  assert.match(tables, /inet chillbox_metadata/);
  assert.match(tables, /inet chillbox_host/);
  const found = spawnSync("grep", ["-rlE", "flush +ruleset", "server-scripts", "image/files", "ansible"], {
    cwd: new URL("../..", import.meta.url),
    encoding: "utf8",
  });
  assert.equal(found.stdout, "");
});

/** A real ssh client with the server's key and nothing of the person's own configuration. */
function client(options: readonly string[], command = "echo in", user = "chillbox", key = "key"): Promise<Said> {
  const fixed = [`UserKnownHostsFile=${server.host.path("hosts")}`, "BatchMode=yes", "IdentitiesOnly=yes"];
  const words = ["-F", "none", "-i", server.host.path(key), ...fixed.flatMap((option) => ["-o", option])];
  return server.run(["ssh", ...words, ...options, `${user}@${server.host.address}`, command]);
}

test("ssh lets in the admin user alone, by key alone", async () => {
  assert.equal((await client([])).out, "in\n");
  for (const user of ["root", "nginx", "nobody"]) {
    const { code, errors } = await client([], "true", user);
    assert.equal(code, 255, user);
    assert.match(errors, /Permission denied \(publickey\)/);
  }
  const without = await client(["-o", "PubkeyAuthentication=no"]);
  assert.match(without.errors, /Permission denied \(publickey\)/, "no other way is offered");
});

test("ssh forwards nothing", async () => {
  const port = await client(["-W", "127.0.0.1:80"], "");
  assert.match(port.errors, /prohibited|forwarding failed/);
  const back = await client(["-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:7777:127.0.0.1:1"]);
  assert.match(back.errors, /remote port forwarding failed/);
  const socket = await client(["-o", "ExitOnForwardFailure=yes", "-R", "/tmp/agent.sock:127.0.0.1:1"]);
  assert.match(socket.errors, /remote port forwarding failed/);
  const agent = [
    "ssh-agent",
    "sh",
    "-c",
    `ssh-add -q ${server.host.path("key")} && exec "$@"`,
    "agent",
    "ssh",
    "-A",
    "-F",
    "none",
  ];
  const host = ["-o", `UserKnownHostsFile=${server.host.path("hosts")}`, `chillbox@${server.host.address}`];
  const said = await server.run([...agent, ...host, 'echo "agent:$SSH_AUTH_SOCK"; echo "x:$DISPLAY"']);
  assert.equal(said.out, "agent:\nx:\n");
  assert.equal((await client(["-o", "SetEnv=LC_EVIL=1"], 'echo "$LC_EVIL"')).out, "\n");
});

test("ssh speaks nothing old", async () => {
  for (const [option, problem] of [
    ["KexAlgorithms=diffie-hellman-group14-sha256", /no matching key exchange/],
    ["KexAlgorithms=curve25519-sha256", /no matching key exchange/],
    ["Ciphers=aes128-ctr", /no matching cipher/],
    ["HostKeyAlgorithms=rsa-sha2-512", /no matching host key type/],
  ] as const) {
    assert.match((await client(["-o", option])).errors, problem);
  }
  assert.match(await root("sshd -T | grep ^maxauthtries"), /^maxauthtries 3$/);
  assert.equal(await root("ls /etc/ssh/ssh_host_* 2>/dev/null | wc -l"), "0");
});

test("after a power cut the confirmed rules are there, and no others", { timeout: 60_000 }, async () => {
  const input = JSON.stringify({ sshAllowedAddresses: ["0.0.0.0/0", "192.0.2.9"], outbound: [] });
  assert.equal((await server.ssh(`echo '${input}' | doas chillbox-firewall apply`)).code, 0);
  assert.equal(await root("nft list table inet chillbox_host | grep -c 192.0.2.9"), "1");
  await server.host.kill();
  await server.host.boot();
  for (let waited = 0; (await server.ssh("true")).code !== 0; waited += 200) {
    assert.ok(waited < 30_000, "ssh does not come back");
    await sleep(200);
  }
  const table = await root("nft list table inet chillbox_host");
  assert.match(table, /192\.0\.2\.1 /);
  assert.doesNotMatch(table, /192\.0\.2\.9/);
  assert.equal(table.match(/policy drop/g)?.length, 3);
  assert.equal(await root("rc-service chillbox-firewall status | grep -o started"), "started");
  assert.equal(
    await root("cat /proc/sys/net/ipv4/conf/eth0/accept_redirects /proc/sys/net/ipv4/tcp_rfc1337 | xargs"),
    "0 1",
  );
});
