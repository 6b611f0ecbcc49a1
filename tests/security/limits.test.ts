import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { TestServer } from "../server-scripts/server.ts";
import { answering, makeTree, siteParts } from "../server-scripts/test-site.ts";

/** A server of the smallest plan with a quiet site and one that does what a site must not, for all tests of this file. */
const server = new TestServer({ memoryMiB: 512 });
const folder = mkdtempSync(join(tmpdir(), "chillbox-limits-"));
const quiet = { slug: "quiet", port: 8101 };
const wild = { slug: "wild", port: 8102 };

before(
  async () => {
    await server.setUp();
    await install(quiet, answering("quiet"));
    await install(wild, misbehaving);
  },
  { timeout: 300_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Each request to /api/<what> begins it in a process of its own, and answers. */
const misbehaving = `import os, sys

def fork():
    while True:
        try:
            os.fork()
        except OSError:
            pass

def memory():
    # The kernel ends the one that takes it, so there is always another.
    while os.fork():
        os.wait()
    held = []
    while True:
        held.append(bytearray(b"x" * 1000000))

def log():
    while True:
        sys.stderr.write("a line of a hundred characters " * 3 + "\\n")

def disk():
    # All at once, as no disk could be written to.
    with open(os.environ["HOME"] + "/full", "wb") as file:
        size = 2 << 40
        while size:
            try:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
            except OSError:
                size //= 2
    while True:
        pass

def create_app():
    def application(environ, start_response):
        name = environ["PATH_INFO"].rsplit("/", 1)[-1]
        if name in globals() and os.fork() == 0:
            os.setsid()
            globals()[name]()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"wild\\n"]
    return application
`;

async function install(site: typeof quiet, application: string): Promise<void> {
  const tree = makeTree(folder, site.slug, site.slug, application);
  const manifest = await server.manifest(site.slug, tree, { ...siteParts(site, site.slug), watchSeconds: 1 });
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, said.errors);
  return said.out.trim();
}

async function ask(slug: string, path: string): Promise<string> {
  const url = `http://${server.host.address}/api/${path}`;
  return (await server.run(["curl", "--silent", "--max-time", "10", "--header", `Host: ${slug}.test`, url])).out.trim();
}

interface Times {
  readonly site: number;
  readonly ssh: number;
}

/** Milliseconds that the other site's service and a new ssh connection take: the middle of some. */
async function times(): Promise<Times> {
  // curl's own time: starting a program here takes longer than the answer.
  const url = `http://${server.host.address}/api/?[1-25]`;
  const words = ["--silent", "--fail", "--output", "/dev/null", "--write-out", "%{time_total}\\n"];
  const said = await server.run(["curl", ...words, "--max-time", "10", "--header", "Host: quiet.test", url]);
  assert.equal(said.code, 0, said.errors);
  const ssh: number[] = [];
  for (let round = 0; round < 7; round++) {
    const started = performance.now();
    assert.equal((await server.ssh("true")).code, 0);
    ssh.push(performance.now() - started);
  }
  return { site: middle(said.out.trim().split("\n").map(Number)) * 1000, ssh: middle(ssh) };
}

function middle(numbers: number[]): number {
  return numbers.sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
}

/** Waits until the wild site answers again. */
async function recovered(): Promise<void> {
  for (let waited = 0; (await ask("wild", "")) !== "wild"; waited += 100) {
    assert.ok(waited < 20_000, "the wild site does not come back");
    await sleep(100);
  }
}

/** Text of a file of the wild site's control group, whatever the version. */
const group = (first: string, second: string) =>
  `cat /sys/fs/cgroup/${first.replace("/", "/sites/wild.api@*/")} 2>/dev/null || cat /sys/fs/cgroup/sites/wild.api@*/${second}`;

/** By the supervisor of its service. */
const restart = "s6-svc -r /run/chillbox/scan/wild.api@*";
const mark = "/run/chillbox/over-disk/wild";
/** What it did is seen in a value on the server, so that a hog that never ran shows; and what ends it. */
const misdeeds: [what: string, path: string, seen: string, pattern: RegExp, end: string][] = [
  ["fork bomb", "fork", group("pids/pids.current", "pids.current"), /^128$/, restart],
  [
    "memory hog",
    "memory",
    group("memory/memory.failcnt", "memory.events"),
    /^([1-9]|low 0(\n.*)*oom_kill [1-9])/,
    restart,
  ],
  ["log flood", "log", "ls /var/log/wild-api | grep -c ^@", /^5$/, restart],
  // It is ended by itself, and waits a minute before it starts again, which is over here at once.
  [
    "full disk",
    "disk",
    `cat ${mark} 2>/dev/null || true`,
    /^1\d{3} \d{3}$/,
    `rm /var/lib/wild/api/full; touch -d @0 ${mark}`,
  ],
];

for (const [what, path, seen, pattern, end] of misdeeds) {
  test(`a ${what} in one site: the other site and ssh answer within twice their idle time`, {
    timeout: 120_000,
  }, async (context) => {
    const before = await times();
    assert.equal(await ask("wild", path), "wild");
    for (let waited = 0; !pattern.test(await root(seen)); waited += 200) {
      assert.ok(waited < 40_000, `no ${what} is seen: ${await root(seen)}`);
      await sleep(200);
    }
    const busy = await times();
    // Whatever it is, others can write.
    await root("s6-setuidgid quiet dd if=/dev/zero of=/var/lib/quiet/api/written bs=1M count=8 2>/dev/null");
    await root(end);
    await recovered();
    for (let waited = 0; Number(await root(group("pids/pids.current", "pids.current"))) >= 10; waited += 200) {
      assert.ok(waited < 20_000, "processes of it are left");
      await sleep(200);
    }
    // The machine around it has other things to do as well, so that its idle time changes: the slower of two.
    const after = await times();
    context.diagnostic(JSON.stringify({ before, busy, after }));
    for (const part of ["site", "ssh"] as const) {
      const idle = Math.max(before[part], after[part], part === "site" ? 10 : 250);
      assert.ok(busy[part] <= 2 * idle, `${part}: ${busy[part]} ms after ${idle} ms`);
    }
  });
}

test("a service's logs, and nginx's, stay small without a lost line", { timeout: 60_000 }, async () => {
  assert.ok(Number((await root("du -sm /var/log/wild-api")).split("\t")[0]) <= 7);
  await root("s6-setuidgid nginx truncate -s 6M /var/log/nginx/quiet/access.log");
  const before = Number(await root("cat /var/log/nginx/quiet/access.log* | grep -ac rotation || true"));
  assert.equal(before, 0);
  let asked = 0;
  for (const until = Date.now() + 8000; Date.now() < until; asked++) await ask("quiet", "rotation");
  assert.equal(await root("ls /var/log/nginx/quiet"), "access.log\naccess.log.1");
  assert.equal(Number(await root("cat /var/log/nginx/quiet/access.log* | grep -ac rotation")), asked);
});
