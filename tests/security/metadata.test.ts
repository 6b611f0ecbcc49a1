import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestServer } from "../server-scripts/server.ts";

/** One server with ten sites. walls/metadata.py is what tries to leave it; what reaches the network around it is counted there. */
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-metadata-"));
const program = "/srv/metadata.py";
const slugs = [..."abcdefghij"];
/** Users, and how root becomes them: with all walls around them and as nothing but the user. */
const others: readonly string[] = [
  ...slugs.map((slug) => `chillbox-confine --secrets ${slug}/work ${slug}`),
  ...["_a", ...slugs, "nginx", "nobody"].map((user) => `s6-setuidgid ${user}`),
];

before(
  async () => {
    await server.setUp();
    const sites = [];
    for (const slug of slugs) sites.push(await site(slug));
    const installed = sites.map((manifest) => server.ssh("doas chillbox-site install", manifest));
    for (const said of await Promise.all(installed)) assert.equal(said.code, 0, said.errors);
    await root(`cp /usr/local/src/a/work/metadata.py ${program}; chmod 644 ${program}`);
    count();
  },
  { timeout: 300_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

async function site(slug: string): Promise<Record<string, unknown>> {
  const tree = join(folder, slug);
  mkdirSync(join(tree, "nginx/root"), { recursive: true });
  mkdirSync(join(tree, "work"));
  writeFileSync(join(tree, "nginx/root/index.html"), "page\n");
  cpSync(join(import.meta.dirname, "walls/metadata.py"), join(tree, "work/metadata.py"));
  // A worker tries it from the first moment that a site has at a boot.
  const worker = { name: "work", lang: "python-worker", handler: "work", count: 1, environment: {} };
  const runCommand = `sh -c 'python3 metadata.py >/var/lib/${slug}/work/said; sleep 100000'`;
  return server.manifest(slug, tree, {
    services: [{ ...worker, runCommand }],
    ...(slug === "a" ? { redis: {} } : {}),
    watchSeconds: 0,
  });
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

function nft(...words: string[]): string {
  return execFileSync("ip", ["netns", "exec", server.host.namespace, "nft", ...words], { encoding: "utf8" });
}

/** Counts from here on what comes from the server for the metadata service. */
function count(): void {
  const rule = 'iifname "host0" ip daddr 169.254.0.0/16 counter';
  nft(`table ip seen { chain packets { type filter hook prerouting priority raw; ${rule}; }; }`);
}

/** Packets since the last time. */
function seen(): number {
  const packets = Number(/counter packets (\d+)/.exec(nft("list", "table", "ip", "seen"))?.[1]);
  nft("delete", "table", "ip", "seen");
  count();
  return packets;
}

/** Every way, as everybody. */
async function everybody(): Promise<Record<string, Record<string, string>>> {
  const lines = await root(
    ["", ...others]
      .map((user) => `${user} python3 ${program}; echo; CARD=eth1 ${user} python3 ${program}; echo`)
      .join("\n"),
  );
  const said = lines.split("\n").map((line) => JSON.parse(line));
  assert.equal(said.length, 2 * (others.length + 1));
  return { root: said[0], user: said[2] };
}

test("no packet reaches the metadata service, whoever sends it and however", { timeout: 120_000 }, async () => {
  const said = await everybody();
  assert.ok(Object.keys(said.root ?? {}).filter((way) => way.startsWith("spelled")).length >= 12);
  assert.equal(seen(), 0);
});

test("nor does one after a reboot, from before the first process of a site on", { timeout: 120_000 }, async () => {
  await root("rm /var/lib/?/work/said");
  await server.host.kill();
  await server.host.boot();
  const until = Date.now() + 40_000;
  while ((await server.ssh("true")).code !== 0) assert.ok(Date.now() < until, "no ssh");
  const said = (slug: string) => `until [ -s /var/lib/${slug}/work/said ]; do sleep 0.2; done`;
  await root(`${slugs.map(said).join("; ")}; rm /var/lib/?/work/said`);
  await everybody();
  assert.equal(seen(), 0);
  // Pages need not wait until all of them are started.
  const pids = await root("cd /run/chillbox/scan; for each in nginx ?.work.1@*; do s6-svstat -o pid $each; done");
  const [nginx = 0, ...workers] = pids.split("\n").map(Number);
  assert.ok(workers.length === slugs.length && workers.every((pid) => nginx < pid), pids);
});

test("nothing that chillbox does takes the wall down", { timeout: 120_000 }, async () => {
  const said = await server.playbook("configure");
  assert.equal(said.code, 0, said.errors);
  await root('chillbox-ports; rc-service --quiet chillbox restart; chillbox-site remove <<E\n{"slug": "b"}\nE');
  await root(`${others[0]} python3 ${program}; python3 ${program}`);
  assert.equal(seen(), 0);
});

test("without the wall on the way out of each card there is none, also where the kernel has no such hook", async () => {
  // An nft as of a kernel without it.
  const nft = `#!/bin/sh
[ "$1" = -f ] || exec /usr/sbin/nft "$@"
rules=$(cat)
case $rules in "table netdev"*) exit 1 ;; *) echo "$rules" | /usr/sbin/nft -f - ;; esac
`;
  await root(`mkdir /root/older; cat >/root/older/nft <<"E"\n${nft}E\nchmod 755 /root/older/nft`);
  assert.match(
    await root("PATH=/root/older:$PATH /usr/libexec/chillbox/metadata-wall 2>&1 || echo refused"),
    /raw packets of root are not stopped.*\nrefused$/,
  );
  assert.match(await root("PATH=/root/older:$PATH chillbox-tree walls 2>&1 || true"), /does not stand/);
  await root("rm -r /root/older; chillbox-tree walls");
});

test("no site starts, and the tree of services neither, where the wall cannot be raised", {
  timeout: 60_000,
}, async () => {
  await root("nft delete table inet chillbox_metadata");
  assert.match(await root("chillbox-confine a true 2>&1 || true"), /fatal: the wall chillbox_metadata is down/);
  await root(
    "mv /usr/libexec/chillbox/metadata-wall /root/kept; printf '#!/bin/sh\\nexit 1\\n' >/usr/libexec/chillbox/metadata-wall; chmod 755 /usr/libexec/chillbox/metadata-wall",
  );
  assert.match(
    await root("rc-service chillbox restart 2>&1 || true"),
    /the wall before the metadata service does not stand/,
  );
  // nginx lets its visitors end first, and the pause of whoever rotates its logs goes on without him.
  const ended = "for n in $(seq 100); do pgrep -u a >/dev/null || pgrep -u nginx >/dev/null || break; sleep 0.1; done";
  assert.equal(await root(`${ended}; ps -o user,pid,args | grep -E '^(a|nginx) ' || true`), "");
  await root("mv /root/kept /usr/libexec/chillbox/metadata-wall; rc-service --quiet chillbox start");
  await root(`${others[0]} python3 ${program}; python3 ${program}`);
  assert.equal(seen(), 0);
});

test("with the wall down every one of these ways reaches it", { timeout: 120_000 }, async () => {
  const ways = Object.keys((await everybody()).root ?? {});
  seen();
  // The firewall of the host would stop some of it, too. Past the first table goes what is written raw on a card.
  await root("nft delete table inet chillbox_host");
  await root("nft delete table netdev chillbox_metadata");
  await root(`python3 ${program}`);
  assert.equal(seen(), 1);
  await root("nft delete table inet chillbox_metadata");
  const silent = [];
  for (const way of ways) {
    await root(`python3 ${program} '${way}'`);
    if (seen() === 0) silent.push(way);
  }
  assert.deepEqual(silent, []);
  for (const user of others) {
    await root(`${user} python3 ${program}`);
    assert.ok(seen() >= 16, user);
  }
  await root("/usr/libexec/chillbox/metadata-wall");
  await root(`python3 ${program}`);
  assert.equal(seen(), 0);
});
