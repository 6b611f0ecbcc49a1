import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { buildImage } from "../../image/build.ts";
import { TestHost } from "./host.ts";

/** One host, booted again and again: the tests build on each other, as the life of a server does. */
const host = new TestHost();

before(
  async () => {
    await host.prepare((await buildImage()).path, {});
    host.setMetadata(metadata());
  },
  { timeout: 180_000 },
);

after(() => host.close());

/** What DigitalOcean would tell this droplet; its user-data installs the provisional host key, after `extra` commands. */
function metadata(extra = ""): Record<string, unknown> {
  const key = readFileSync(host.path("provisional"), "utf8");
  return {
    hostname: "first.example.test",
    "public-keys": host.text("key.pub"),
    "interfaces/private/0/ipv4/address": host.vpcAddress,
    "interfaces/private/0/ipv4/netmask": "255.255.255.0",
    "user-data": `#!/bin/sh
set -eu
umask 077
${extra}
mkdir -p /run/chillbox/host-key
cat > /run/chillbox/host-key/ssh_host_ed25519_key <<'KEY'
${key}KEY
`,
  };
}

async function reboot(): Promise<void> {
  await host.kill();
  await host.boot();
}

test("the plug is pulled during the first boot, again and again: nothing is done by halves", async () => {
  host.setMetadata(metadata("sleep 1"));
  for (const milliseconds of [600, 1200, 1800, 2200]) {
    await host.boot();
    await sleep(milliseconds);
    await host.kill();
  }
  host.setMetadata(metadata());
});

test("a power-on ends with ssh by key in under five seconds", async (t) => {
  await host.boot();
  const milliseconds = await host.waitForSsh();
  t.diagnostic(`power-on to ssh: ${milliseconds} ms`);
  assert.ok(milliseconds < 5000, `${milliseconds} ms`);
});

test("name, addresses, time of day and services are as they should be", () => {
  assert.equal(host.ssh("hostname"), "first.example.test");
  assert.match(host.ssh("ip -4 addr show eth0"), new RegExp(`inet ${host.address}/24`));
  assert.match(host.ssh("ip -4 addr show eth1"), new RegExp(`inet ${host.vpcAddress}/24`));
  assert.match(host.ssh("ip route"), /^default via 198\.18\.200\.1 dev eth0/);
  assert.equal(host.ssh("cat /etc/resolv.conf"), "nameserver 198.18.200.1");
  assert.equal(host.ssh("rc-status --crashed --nocolor || true"), "");
  const services = host.ssh("rc-status --servicelist | grep started | cut -d ' ' -f 2").split("\n");
  for (const service of ["chillbox-firstboot", "chillbox-metadata-wall", "crond", "networking", "sshd", "syslog"]) {
    assert.ok(services.includes(service), `${service} is not started: ${services}`);
  }
  for (const service of ["cgroups", "chronyd", "hwclock", "modules", "mdev", "nginx", "redis", "nftables"]) {
    assert.ok(!services.includes(service), `${service} is started`);
  }
});

const programs = [
  ["apk --version", /^apk-tools 3/],
  ["nginx -v 2>&1", /nginx\/1\./],
  ["redis-server --version", /Redis server v=8/],
  ["openssl version", /^OpenSSL 3\.5/],
  ["openssl cms -help 2>&1 | head -1", /cms/],
  ["python3 --version", /^Python 3\.13/],
  ["python3 -m venv /tmp/v && /tmp/v/bin/pip --version", /^pip \d/],
  [
    "/tmp/v/bin/python -c 'import ssl, sqlite3, ctypes, lzma, bz2, curses; print(len(ssl.create_default_context().get_ca_certs()) > 50)'",
    /True/,
  ],
  ["s6-svscan -h 2>&1 || true; command -v s6-permafailon", /s6-permafailon/],
  ["execlineb -c 'foreground { echo one } importas -D two V V echo $V'", /^one\ntwo$/],
  ["nft --version", /nftables v1/],
  ["jq -n '1 + 1'", /^2$/],
  ["sqlite3 :memory: 'select 40 + 2'", /^42$/],
  ["curl --version", /^curl 8.*aws-sigv4|^curl 8/],
  ["logrotate --version 2>&1", /^logrotate 3/],
  ["chronyd --version", /^chronyd/],
  ["uacme -V 2>&1 || true; command -v uacme", /\/usr\/bin\/uacme/],
  ["echo 'permit nopass nobody as root' > /etc/doas.conf; su -s /bin/sh nobody -c 'doas id -u'", /^0$/],
] as const;

for (const [command, expected] of programs) {
  test(`works on the host: ${command.slice(0, 60)}`, () => assert.match(host.ssh(command), expected));
}

test("nobody but the permitted user becomes root", () => {
  assert.match(host.ssh("su -s /bin/sh redis -c 'doas -n id -u' 2>&1 || true"), /not permitted/);
  host.ssh("rm /etc/doas.conf");
});

test("every program and library finds all its libraries", () => {
  const missing = host.ssh(`find /usr/bin /usr/sbin /usr/lib -xdev -type f | while read -r file; do
    [ "$(head -c 4 "$file" | tail -c 3)" = ELF ] || continue
    if grep -q ld-linux-x86-64 "$file" || [ "\${file#/usr/lib/x86_64}" != "$file" ]; then
      /lib64/ld-linux-x86-64.so.2 --list "$file" 2>&1 | grep 'not found' | sed "s|^|$file |"
    fi
  done`);
  assert.equal(missing, "");
});

test("nginx and redis start as Alpine's services do", () => {
  assert.equal(
    host.ssh(
      "rc-service -q nginx start && curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/; rc-service -q nginx stop",
    ),
    "404",
  );
  assert.equal(
    host.ssh(
      "rc-service -q redis start && until redis-cli ping 2> /dev/null; do sleep 0.1; done; rc-service -q redis stop",
    ),
    "PONG",
  );
});

test("installed packages are intact, and more could be added from signed sources only", () => {
  assert.match(host.ssh("apk --no-network add nginx 2>&1"), /OK/);
  assert.equal(host.ssh("grep -c dl-cdn.alpinelinux.org/alpine/v3.23 /etc/apk/repositories"), "2");
});

test("ssh: keys only, one host key", () => {
  const settings = host.ssh("sshd -T").split("\n");
  for (const line of [
    "passwordauthentication no",
    "kbdinteractiveauthentication no",
    "permitrootlogin without-password",
    "authenticationmethods publickey",
    "usepam no",
    "permitemptypasswords no",
  ]) {
    assert.ok(settings.includes(line), line);
  }
  assert.deepEqual(
    settings.filter((line) => line.startsWith("hostkey ")),
    ["hostkey /run/sshd/host_key"],
  );
  assert.equal(host.ssh("ls /etc/ssh | grep -c ssh_host || true"), "0");
  assert.deepEqual(host.offeredHostKeys(), [host.publicPart("provisional")]);
});

test("the metadata service is out of reach for everybody, whatever the socket", () => {
  const url = "http://169.254.169.254/metadata/v1/user-data";
  for (const user of ["root", "nobody"]) {
    for (const how of ["", "--interface eth0", "--interface eth1", `--interface ${host.address}`]) {
      const command = `curl -s -m 1 ${how} -o /dev/null -w '%{http_code}' ${url} || true`;
      assert.equal(host.ssh(`su -s /bin/sh ${user} -c "${command.replaceAll('"', '\\"')}"`), "000", `${user} ${how}`);
    }
  }
  const options = host.ssh(`python3 - <<'PY'
import socket, struct
def attempt(level, name, value):
    with socket.socket() as s:
        s.settimeout(1)
        s.setsockopt(level, name, value)
        try:
            s.connect(("169.254.169.254", 80))
            return "connected"
        except OSError:
            return "no"
index = socket.if_nametoindex("eth0")
print(attempt(socket.IPPROTO_IP, 50, struct.pack("!I", index)))  # IP_UNICAST_IF
print(attempt(socket.SOL_SOCKET, 25, b"eth0"))  # SO_BINDTODEVICE
print(attempt(socket.SOL_SOCKET, 36, struct.pack("i", 7)))  # SO_MARK
PY`);
  assert.deepEqual(options.split("\n"), ["no", "no", "no"]);
});

test("the wall also stops packets that root writes past the network stack", () => {
  const dropped = host.ssh(`
    before=$(nft list chain netdev chillbox_metadata egress_eth0 | sed -n 's/.*169.254.169.254 counter packets \\([0-9]*\\).*/\\1/p')
    python3 -c '
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0x0800))
s.send(bytes.fromhex("ffffffffffff0401000000020800") + bytes.fromhex("4500001c00000000401100000a0a0a0aa9fea9fe") + bytes(8))'
    after=$(nft list chain netdev chillbox_metadata egress_eth0 | sed -n 's/.*169.254.169.254 counter packets \\([0-9]*\\).*/\\1/p')
    echo $((after - before))`);
  assert.equal(dropped, "1");
});

test("user-data is nowhere on the disk", () => {
  const line = host.text("provisional").split("\n")[2] ?? "";
  assert.ok(line.length > 40);
  assert.equal(host.ssh(`grep -rlF '${line}' /etc /root /var /tmp /usr/libexec /home || true`), "");
});

test("a reboot before the server has its own host key brings the provisional one back", async () => {
  await reboot();
  await host.waitForSsh();
  assert.deepEqual(host.offeredHostKeys(), [host.publicPart("provisional")]);
});

test("without the provisional key and without an own one, sshd does not start and makes none", async () => {
  host.setMetadata({ ...metadata(), "user-data": undefined });
  await reboot();
  await host.waitForConsole("sshd stays down");
  assert.deepEqual(host.offeredHostKeys(), []);
  host.setMetadata(metadata());
  await reboot();
  await host.waitForSsh();
});

test("the server's own key replaces the provisional one on reload, without a restart of the session", () => {
  host.writeRemote("own", "/etc/chillbox/host-key/ssh_host_ed25519_key");
  assert.equal(
    host.ssh("touch /etc/chillbox/host-key/current; rc-service -q sshd reload && sleep 0.2; echo still here"),
    "still here",
  );
  assert.deepEqual(host.offeredHostKeys(), [host.publicPart("own")]);
});

test("from then on the wall stands before the network, and a boot asks the metadata service nothing", async () => {
  host.setMetadata({ hostname: "wrong.example.test" });
  await reboot();
  await host.waitForSsh("own");
  assert.equal(host.ssh("hostname", "own"), "first.example.test");
  assert.match(host.ssh("ip -4 addr show eth1", "own"), new RegExp(`inet ${host.vpcAddress}/24`));
  const console = host.lastBoot();
  assert.ok(
    console.indexOf("Raising the wall") > 0 &&
      console.indexOf("Raising the wall") < console.indexOf("Starting networking"),
    console,
  );
  assert.match(host.ssh("nft list table inet chillbox_metadata", "own"), /169\.254\.169\.254 counter packets 0 /);
  assert.equal(host.ssh("curl -s -m 1 -o /dev/null -w '%{http_code}' http://169.254.169.254/ || true", "own"), "000");
});

test("poweroff and reboot from inside end init cleanly", async () => {
  host.ssh("(sleep 0.2; reboot) > /dev/null 2>&1 &", "own");
  assert.equal(await host.ended(), "reboot");
  await host.boot();
  await host.waitForSsh("own");
  host.ssh("(sleep 0.2; poweroff) > /dev/null 2>&1 &", "own");
  assert.equal(await host.ended(), "poweroff");
});
