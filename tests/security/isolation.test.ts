import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "../server-scripts/server.ts";

/** One server (with control groups, as a plan has them) with ten sites, each with a service, a worker, a Redis and a crontab. walls/attack.py is what they try on each other. */
const server = new TestServer({ memoryMiB: 4096 });
const folder = mkdtempSync(join(tmpdir(), "chillbox-walls-"));
const numbers = [...Array(10).keys()];
const slugs = numbers.map((number) => `s${number}`);

type Target = Readonly<Record<string, unknown>>;
/** Evidence by attack by the site that was attacked. */
type Found = Readonly<Record<string, Readonly<Record<string, string>>>>;
interface Result {
  readonly attacks: readonly string[];
  readonly found: Found;
}

/** What a site's own user cannot do to the site's own things either: who can, which is how the attack is proven, and why the site cannot. */
const notEvenOwn: Readonly<Record<string, readonly [who: "redis" | "nginx" | "root", why: string]>> = {
  "control groups": ["root", "nothing of a site needs to know its own, so all are covered"],
  "crontab of the system": ["root", "crond reads root's folder alone; a site's lines come with its release"],
  "data of redis": ["redis", "the site asks Redis, and does not read its files"],
  "list of ports": ["root", "the kernel has one list of all sites"],
  "list of ports by netlink": ["root", "the kernel has one list of all sites"],
  "list of unix sockets": ["root", "the kernel has one list of all sites"],
  "log of nginx": ["nginx", "nginx writes it, and no site may change what it says"],
  "log of the host": ["root", "sites have logs of their own"],
  "log of the service": ["root", "a logger outside of the site writes it, so that the site cannot change what it said"],
  "private manifest": ["root", "only an install reads it"],
  "settings of redis": ["redis", "so that nobody else learns its passwords"],
  "socket of the holder": ["root", "it holds the sockets of all sites"],
};
/** How root becomes them, for one of the sites. */
const whoCan: Readonly<Record<string, (slug: string) => string>> = {
  redis: (slug) => `chillbox-confine --no-network _${slug}`,
  nginx: () => "s6-setuidgid nginx",
  root: () => "",
};
/** What is stopped for everybody who is behind the walls, and is proven without them. */
const withoutWallsAlone = ["port taken of a service that is down"];
/** A port that is held cannot be taken by anybody; that taking works shows the one of a service that is down. */
const never = ["port taken", "port taken on all addresses"];

let targets: Target[] = [];

before(
  async () => {
    await server.setUp();
    const manifests = [];
    for (const number of numbers) manifests.push(await manifest(number));
    await Promise.all(manifests.map(install));
    await root("mkdir /srv/walls; cp /usr/local/src/s0/work/*.py /srv/walls; chmod -R a+rX /srv/walls");
    await root(slugs.map((slug) => `${prepare(slug)}\n`).join(""));
    await root(`python3 -c '${LISTENERS}' ${numbers.join(" ")} </dev/null >/dev/null 2>&1 &`);
    targets = await findTargets();
  },
  { timeout: 400_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

function canary(slug: string): string {
  return createHash("sha256").update(`canary of ${slug}`).digest("hex").slice(0, 32);
}

/** Such a site, whose service attacks whom it is told to: so does its crontab. */
async function manifest(number: number): Promise<Record<string, unknown>> {
  const slug = `s${number}`;
  const tree = join(folder, slug);
  mkdirSync(join(tree, "nginx/root"), { recursive: true });
  mkdirSync(join(tree, "api", `${slug}_api`), { recursive: true });
  for (const place of ["api", "work"]) {
    cpSync(join(import.meta.dirname, "walls"), join(tree, place), { recursive: true });
    writeFileSync(join(tree, place, "canary.txt"), canary(slug));
  }
  writeFileSync(join(tree, "api", `${slug}_api`, "app.py"), APPLICATION);
  const environment = { CANARY: canary(slug), NAME: `walls-${slug}`, KEY: String(7000 + number) };
  const home = `/var/lib/${slug}/_cron`;
  return server.manifest(slug, tree, {
    services: [
      { name: "api", lang: "python", handler: "api", host: "127.0.0.1", port: 9200 + number, workers: 1, environment },
      {
        name: "work",
        lang: "python-worker",
        handler: "work",
        runCommand: `python victim.py /var/lib/${slug}/work/places.json ${canary(slug)}`,
        count: 1,
        environment,
      },
    ],
    redis: { "proc-title-template": canary(slug) },
    crontab: [
      `* * * * * : ${canary(slug)}; [ ! -e ${home}/targets ] || { python3 /usr/local/src/${slug}/api/attack.py <${home}/targets >${home}/new && mv ${home}/new ${home}/result; }`,
    ],
    nginx: `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name ${slug}.test;
  root /srv/${slug}/root;
  access_log /var/log/nginx/${slug}/access.log;
  client_max_body_size 10m;
  location /api/ { proxy_pass http://127.0.0.1:${9200 + number}; }
}
`,
  });
}

const APPLICATION = `
import os, subprocess, sys
print(os.environ["CANARY"])
def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        targets = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        if not targets:
            return [os.environ["CANARY"].encode()]
        said = subprocess.run([sys.executable, "attack.py"], input=targets, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return [said.stdout]
    return application
`;

/** On all addresses of the server, as root: TCP 9300 and UDP 9400, and the number of the site. Each says the canary of its site. */
const LISTENERS = `
import hashlib, socket, sys, threading
def serve(number):
    canary = hashlib.sha256(f"canary of s{number}".encode()).hexdigest()[:32].encode()
    tcp = socket.create_server(("::", 9300 + number), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("0.0.0.0", 9400 + number))
    def loop():
        while True:
            connection, _ = tcp.accept()
            connection.recv(4096)
            connection.sendall(canary)
            connection.close()
    threading.Thread(target=loop).start()
    while True:
        _, asker = udp.recvfrom(4096)
        udp.sendto(canary, asker)
for number in sys.argv[1:]:
    threading.Thread(target=serve, args=[int(number)]).start()
`.replaceAll("'", '"');

async function install(manifest: unknown): Promise<void> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

async function root(command: string, input: unknown = ""): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`, input);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

/** Commands that give a site what there is to steal besides what it has: data, a secret, words in its Redis and in the log of nginx. */
function prepare(slug: string): string {
  const text = canary(slug);
  const number = slug.slice(1);
  // Open to all, so that only the folder around it holds. The secret comes last and by a rename, as chillbox puts it there.
  return `
    printf ${text} >/var/lib/${slug}/api/data.txt; chown ${slug} /var/lib/${slug}/api/data.txt; chmod 666 /var/lib/${slug}/api/data.txt
    for service in api work; do
      folder=/run/tmp/chillbox_secrets/${slug}/$service
      chillbox-confine --secrets ${slug}/$service ${slug} true
      printf ${text} >$folder/new; chown ${slug} $folder/new; chmod 400 $folder/new; mv $folder/new $folder/secret
    done
    redis-cli -s /run/redis/${slug}.sock set canary ${text} >/dev/null; redis-cli -s /run/redis/${slug}.sock save >/dev/null
    curl -s -o /dev/null -H "Host: ${slug}.test" http://127.0.0.1/${text}
    nft add element inet chillbox_sites own "{ $(id -u ${slug}) . 930${number}, $(id -u ${slug}) . 940${number} }"`;
}

/** processes SLUG: the ids of all that runs as one of the site's users, with commas. */
const PROCESSES = `processes() { ps -o pid,user | awk -v site=$1 '$2 == site || $2 == "_" site { print $1 }' | paste -s -d ,; }`;

/** What root knows of each site, which an attacker might guess. */
async function findTargets(): Promise<Target[]> {
  const lines = await root(`${PROCESSES}
  for slug in ${slugs.join(" ")}; do
    until [ -e /var/lib/$slug/work/places.json ]; do sleep 0.1; done
    echo "{\\"release\\": \\"$(basename "$(readlink /var/lib/chillbox/sites/$slug/current)")\\", \\"pids\\": [$(processes $slug)],
      \\"redis\\": \\"$(echo /run/chillbox/services/$slug._redis@*)\\", \\"said\\": $(cat /var/lib/$slug/work/places.json)}" | tr -d '\\n'
    echo
  done`);
  return lines.split("\n").map((line, number) => {
    const { said, ...rest } = JSON.parse(line);
    return {
      slug: `s${number}`,
      canary: canary(`s${number}`),
      name: `walls-s${number}`,
      key: 7000 + number,
      host: server.host.address,
      port: 9200 + number,
      anyPort: 9300 + number,
      udpPort: 9400 + number,
      freePort: 9500 + number,
      ...rest,
      ...said,
    };
  });
}

function target(slug: string): Target {
  const found = targets.find((each) => each.slug === slug);
  assert.ok(found);
  return found;
}

const othersOf = (slug: string) => targets.filter((each) => each.slug !== slug);

/** The attack as the site's own service does it, when a visitor asks for it. */
async function attackByService(slug: string, targets: readonly Target[]): Promise<Result> {
  const url = `http://${server.host.address}/api/`;
  const words = ["--silent", "--max-time", "60", "--header", `Host: ${slug}.test`, "--data-binary", "@-", url];
  const said = await server.run(["curl", ...words], targets);
  return parse(said.out);
}

/** The attacks as root starts them, all by default: `words` say as whom. */
async function attackByRoot(
  words: string,
  targets: readonly Target[],
  attacks: readonly string[] = [],
): Promise<Result> {
  const names = attacks.map((name) => `"${name}"`).join(" ");
  return parse(await root(`${words} python3 /srv/walls/attack.py ${names}`, targets));
}

function parse(text: string): Result {
  try {
    return JSON.parse(text);
  } catch {
    throw new Error(`attack.py said: ${text}`);
  }
}

const names = (found: Readonly<Record<string, string>> | undefined) => Object.keys(found ?? {}).sort();
const nothing = (slug: string) => Object.fromEntries(othersOf(slug).map((each) => [each.slug, {}]));

test("every attack works against the site's own, by whoever of it can", { timeout: 240_000 }, async () => {
  for (const slug of slugs) {
    const own = [{ ...target(slug), own: true }];
    // Not by its service, whose only worker could not answer itself.
    const { attacks, found } = await attackByRoot(`chillbox-confine --secrets ${slug}/api ${slug}`, own);
    const stopped = attacks.filter((name) => !(name in (found[slug] ?? {}))).sort();
    assert.deepEqual(stopped, [...Object.keys(notEvenOwn), ...withoutWallsAlone, ...never].sort(), slug);
    assert.ok(attacks.length > 60);
  }
  for (const [who, words] of Object.entries(whoCan)) {
    const names = Object.keys(notEvenOwn).filter((name) => notEvenOwn[name]?.[0] === who);
    for (const slug of slugs) {
      const { found } = await attackByRoot(words(slug), [target(slug)], names);
      assert.deepEqual(Object.keys(found[slug] ?? {}).sort(), names, `${slug} by ${who}`);
    }
  }
});

test("of 90 pairs of sites none gets anything of the other, from a service or from cron", {
  timeout: 240_000,
}, async () => {
  for (const slug of slugs) {
    await root(
      `umask 022; cat >/var/lib/${slug}/_cron/targets.new; cd /var/lib/${slug}/_cron; mv targets.new targets`,
      othersOf(slug),
    );
  }
  for (const slug of slugs) assert.deepEqual((await attackByService(slug, othersOf(slug))).found, nothing(slug), slug);
  for (const slug of slugs) {
    const result = `/var/lib/${slug}/_cron/result`;
    const said = await root(
      `n=0; until [ -e ${result} ] || [ $n = 900 ]; do sleep 0.1; n=$((n + 1)); done; cat ${result}`,
    );
    assert.deepEqual(parse(said).found, nothing(slug), `cron of ${slug}`);
  }
  await root("rm /var/lib/s?/_cron/targets");
});

test("the users of Redis get nothing either", async () => {
  const { found } = await attackByRoot("chillbox-confine --no-network _s0", othersOf("s0"));
  assert.deepEqual(found, nothing("s0"));
});

test("a service sees its own secrets alone, cron those of its site, Redis none, and nobody can write there", async () => {
  // Their secrets came after them.
  await root("for path in /run/chillbox/scan/s0.api@* /run/chillbox/scan/s0.work.1@*; do s6-svc -r $path; done");
  // What runs, as it is from inside its mount namespace.
  const see = () =>
    root(`${PROCESSES}
    for pid in $(processes s0 | tr , " "); do
      echo "$(sed -n "s|.*/sites/s0\\.\\([^@]*\\)@.*|\\1|p" /proc/$pid/cgroup | head -n 1) $(cd /proc/$pid/root/run/tmp/chillbox_secrets && echo */*/secret)"
    done 2>/dev/null | sort -u`);
  const own = ["_cron s0/api/secret s0/work/secret", "_redis */*/secret", "api s0/api/secret", "work.1 s0/work/secret"];
  for (let waited = 0; (await see()) !== own.join("\n"); waited += 200) {
    assert.ok(waited < 20_000, await see());
    await sleep(200);
  }
  const write = (words: string) =>
    root(`chillbox-confine ${words} sh -c 'cd /run/tmp/chillbox_secrets; touch new s0/new s0/*/new s1/new; echo x >s0/api/secret; true' 2>/dev/null
      find /run/tmp/chillbox_secrets -name new; cat /run/tmp/chillbox_secrets/s0/api/secret`);
  for (const words of ["--secrets s0/api s0", "--secrets s0 s0", "--no-network _s0"])
    assert.equal(await write(words), canary("s0"));
});

test("no file that another user may read has anything of a site, wherever it lies", async () => {
  // Root lists them, since a folder that does not tell what it has may still let somebody pass who knows it.
  const places = "/dev/shm /etc /home /opt /root /run /srv /tmp /usr/local /var";
  await root(`find ${places} -type f -print0 >/srv/files 2>/dev/null; chmod 644 /srv/files`);
  const found = (user: string) =>
    root(`s6-setuidgid ${user} xargs -0 grep -slF ${canary("s1")} </srv/files | sort | head -n 50; true`);
  for (const user of ["s0", "_s0", "nobody"]) assert.equal(await found(user), "", user);
  assert.match(await found("s1"), /^\/var\/lib\/s1\/api\/data\.txt$/m);
});

test("a user without rights reads no log, writes no file, and gets into no socket and no site's folder", async () => {
  const open = await root(`s6-setuidgid nobody python3 - <<"E"
import os, stat
for place in ("/dev", "/etc", "/home", "/opt", "/root", "/run", "/srv", "/usr/local", "/var"):
    for folder, _, names in os.walk(place):
        for path in [folder, *(os.path.join(folder, name) for name in names)]:
            kind = os.lstat(path).st_mode
            if stat.S_ISREG(kind) and path.startswith("/var/log/") and os.access(path, os.R_OK): print(path)
            if (stat.S_ISREG(kind) or stat.S_ISSOCK(kind) or stat.S_ISDIR(kind)) and os.access(path, os.W_OK): print(path)
E`);
  // For all by their very purpose; sites have their own.
  assert.deepEqual(open.split("\n").sort(), ["/dev/mqueue", "/dev/shm", "/var/log/wtmp", "/var/tmp"]);
  const folders = "/var/lib/s1/* /srv/s1/. /var/lib/chillbox/sites/s1/releases/*/*";
  const shared = await root(`stat -L -c '%a %U:%G %n' ${folders} | grep -v '0 ' || true`);
  assert.equal(shared, "", "modes that let others in");
});

test("every process of a site is confined, whatever started it", async () => {
  const said = await root(`${PROCESSES}
  for slug in ${slugs.join(" ")}; do processes $slug; done | tr , '\\n' | while read -r pid; do
    # Some have ended since.
    [ -e /proc/$pid/status ] || continue
    sed -n 's/^\\(Cap[A-Z][a-z]*\\|NoNewPrivs\\|Umask\\):.//p; s/^Seccomp:./seccomp /p' /proc/$pid/status
    awk '$1 == "Gid:" { own = $2 } $1 == "Groups:" && (NF != 2 || $2 != own) { print "other groups" $0 }' /proc/$pid/status
    sed -n 's/^Max \\(core file\\|open\\|proc\\)[a-z ]* \\([0-9]*\\) .*/\\1 \\2/p' /proc/$pid/limits
    for kind in mnt ipc; do
      [ "$(readlink /proc/$pid/ns/$kind)" != "$(readlink /proc/1/ns/$kind)" ] || echo "$pid shares $kind with the host"
    done
  done | sort -u`);
  // No capability, no new privileges, no core file. The victims take their umask away, so that only walls keep others out.
  const limits = ["core file 0", "open 8192", "proc 1024", "seccomp 2"];
  assert.deepEqual(said.split("\n"), ["0000", "0".repeat(16), "0077", "1", ...limits]);
  assert.equal(
    await root("chillbox-confine s0 unshare -U true 2>&1 || true"),
    "unshare: unshare(0x10000000): No space left on device",
  );
  // Of what an install has open, its locks above all, nothing gets into the site's hands.
  assert.equal(await root("exec 7</etc/passwd; chillbox-confine s0 ls -l /proc/self/fd | grep -c passwd || true"), "0");
});

test("without namespaces the shared folders and memories are one room, without the filter all ports are told", async () => {
  await root(`mkdir /run/victim; chown s1 /run/victim
    (cd / && s6-setuidgid s1 env CANARY=${canary("s1")} NAME=plain KEY=7100 python3 /srv/walls/victim.py /run/victim/places.json </dev/null >/dev/null 2>&1 &)
    until [ -e /run/victim/places.json ]; do sleep 0.1; done`);
  const plain = { ...target("s1"), name: "plain", key: 7100 };
  const { found } = await attackByRoot("s6-setuidgid s0", [plain]);
  assert.deepEqual(names(found.s1), [
    "abstract socket",
    "file in dev shm",
    "file in tmp",
    "file in var tmp",
    "list of ports by netlink",
    "port taken of a service that is down",
    "shared memory",
    "unix socket in tmp",
  ]);
  const confined = await attackByService("s0", [plain]);
  assert.deepEqual(confined.found, { s1: {} });
  await root(
    "kill $(jq .pid /run/victim/places.json); rm -r /run/victim /tmp/of-plain /var/tmp/of-plain /dev/shm/of-plain",
  );
});

test("without hidepid the processes of others are seen, and without their modes the lists of sockets", async () => {
  await root("mount -o remount,hidepid=0 /proc; chmod 444 /proc/net/tcp /proc/net/unix");
  const { found } = await attackByService("s0", [target("s1")]);
  assert.deepEqual(names(found.s1), ["command line", "list of ports", "list of unix sockets", "process seen"]);
  await root("chillbox-tree walls");
  assert.deepEqual((await attackByService("s0", [target("s1")])).found, { s1: {} });
});

test("without the modes of its folders a site's files are open", async () => {
  const folders = "/var/lib/s1/api /var/lib/s1/work /var/log/s1-api /var/log/nginx/s1";
  const modes = await root(`stat -c 'chmod %a %n' ${folders}`);
  await root(
    `chmod 755 ${folders}; chmod 644 /var/log/s1-api/current /var/log/nginx/s1/access.log; chmod 755 /var/log/nginx`,
  );
  const { found } = await attackByService("s0", [target("s1")]);
  assert.deepEqual(names(found.s1), ["data", "data listed", "log of nginx", "log of the service", "unix socket"]);
  await root(`${modes}; chmod 1770 /var/log/nginx`);
  assert.deepEqual((await attackByService("s0", [target("s1")])).found, { s1: {} });
});

test("without the table of ports they are open, and nothing of a site starts any more", {
  timeout: 60_000,
}, async () => {
  await root("nft delete table inet chillbox_sites");
  const { found } = await attackByService("s0", [target("s1")]);
  assert.deepEqual(names(found.s1), [
    "any port on 127 0 0 1",
    "port bound to loopback",
    "port on 0 0 0 0",
    "port on 127 0 0 1",
    "port on 127 9 9 9",
    "port on ipv6",
    "port on localhost mapped",
    "port on the hosts address",
    "udp port",
  ]);
  assert.match(await root("chillbox-confine s0 true 2>&1 || true"), /fatal: the wall chillbox_sites is down/);
  await root("s6-svc -wr -T 10000 -r /run/chillbox/scan/s0.api@* || true");
  await sleep(500);
  assert.equal(await root("pgrep -u s0 -f zygote.py || true"), "");
  await root("chillbox-tree walls");
  assert.deepEqual((await attackByService("s2", [target("s1")])).found, { s1: {} });
});
