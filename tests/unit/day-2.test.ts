import assert from "node:assert/strict";
import { describe, it, type TestContext } from "node:test";
import { ask, type Connection, connect, run } from "../../cli/connection.ts";
import {
  type CertificateStatus,
  duration,
  renderDeploys,
  renderStatus,
  type ServiceStatus,
  type Status,
  stateOf,
} from "../../cli/status.ts";
import { plainText, renderTable } from "../../cli/table.ts";
import { UserError } from "../../lib/user-error.ts";
import { newKey, startSshServer } from "./stand-ins/ssh-server.ts";

const service: ServiceStatus = {
  name: "api",
  up: true,
  ready: true,
  seconds: 7300,
  pid: 12,
  wanted: true,
  exitCode: -1,
  signal: "NA",
  lacksSecrets: false,
  locked: false,
  lastLine: null,
};

const status: Status = {
  server: {
    host: "box-1",
    serverName: "box.test",
    system: "Alpine Linux v3.22 (3.22.1)",
    kernel: "6.12.1",
    uptimeSeconds: 200_000,
    load: [0.1, 0.2, 0.3],
    memory: { totalBytes: 2 ** 29, availableBytes: 2 ** 28 },
    disk: { totalBytes: 10 * 2 ** 30, availableBytes: 8 * 2 ** 30 },
    scripts: "0123456789abcdef",
    nginx: { up: true, seconds: 60 },
    locked: false,
  },
  sites: [
    {
      slug: "hello",
      version: "1.0.0",
      release: "1.0.0+0123456789ab",
      since: "2026-01-02T03:04:05Z",
      serverName: "hello.test",
      domains: [],
      releases: [],
      certificate: { file: "/etc/hello.pem", expires: "2026-01-12T03:04:05Z" },
      pin: { from: ["1.1.0+0123456789ab"], since: "2026-01-02T03:04:05Z", by: "me@laptop", reason: "it broke" },
      lastDeploy: {
        when: "2026-01-02T03:04:05Z",
        by: "me@laptop",
        from: "1.1.0+0123456789ab",
        to: "1.0.0+0123456789ab",
        why: "it broke",
        result: "rolled back",
      },
      services: [
        service,
        { ...service, name: "mail", up: false, ready: false, seconds: 5, exitCode: 3, lastLine: "no \u001b[2Jluck" },
      ],
    },
    {
      slug: "still",
      version: "1",
      release: "1+0123456789ab",
      since: "2026-01-02T03:04:05Z",
      serverName: "still.test",
      domains: [],
      releases: [],
      certificate: null,
      pin: null,
      lastDeploy: null,
      services: [],
    },
  ],
};

describe("status and log for a person", () => {
  it("shows the server, then a line for each site, then what needs somebody", () => {
    assert.equal(
      renderStatus(status, Date.parse("2026-01-02T03:04:05Z")),
      [
        "server  box-1 (box.test), Alpine Linux v3.22 (3.22.1), Linux 6.12.1",
        "up      2 d, load 0.1 0.2 0.3",
        "memory  256 MiB of 512 MiB free",
        "disk    8192 MiB of 10.0 GiB free",
        "nginx   up 60 s",
        "",
        "SITE   RELEASE                      SINCE                CERTIFICATE       SERVICES                                               LAST DEPLOY",
        "hello  1.0.0+0123456789ab (pinned)  2026-01-02 03:04:05  until 2026-01-12  api up 2 h, mail down 5 s (exit code 3; starts again)  rolled back 1.0.0+0123456789ab by me@laptop",
        "still  1+0123456789ab               2026-01-02 03:04:05  none              -                                                      -",
        "",
        "hello was rolled back from 1.1.0+0123456789ab by me@laptop at 2026-01-02 03:04:05: it broke. The next other release ends that.",
        "hello's certificate ends in 10 d, at 2026-01-12 03:04:05.",
        "hello mail down 5 s (exit code 3; starts again); it said last: no ?[2Jluck",
        "",
      ].join("\n"),
    );
  });

  it("says so when there are no sites", () => {
    assert.match(renderStatus({ ...status, sites: [] }), /\nNo sites\.\n$/);
  });

  it("says that the server waits to be unlocked", () => {
    const locked = { ...status, server: { ...status.server, locked: true } };
    assert.match(renderStatus(locked), /\nThe server is locked since it was started: npx chillbox unlock\n/);
    assert.doesNotMatch(renderStatus(status), /locked/);
  });

  it("tells of updates: the newest, what is held back and for whom, what failed, and that a restart is wanted", () => {
    const when = "2026-01-02T03:04:05Z";
    const updates = {
      automatic: true,
      window: "03:00-05:00",
      reboots: true,
      next: "2026-01-03T03:10:00Z",
      last: { when, problem: "the disk is full" },
      log: [
        { when: "2026-01-01T03:04:05Z", package: "old", from: "1-r0", to: "1-r1" },
        { when, package: "musl", from: "1.2.5-r0", to: "1.2.5-r1" },
        { when, package: "added", from: null, to: "2-r0" },
      ],
      held: [{ package: "python3", from: "3.12.1-r0", to: "3.12.2-r0", because: "hello", reason: "ImportError: x" }],
      old: ["hello"],
      reboot: ["the kernel 6.1 was replaced by 6.2"],
    };
    const shown = renderStatus({ ...status, updates }).split("\n");
    assert.ok(
      shown.includes(
        "updates  musl 1.2.5-r0 -> 1.2.5-r1, added (new) -> 2-r0 at 2026-01-02 03:04:05; next at 2026-01-03 03:10:00",
      ),
      shown.join("\n"),
    );
    assert.deepEqual(shown.slice(-5), [
      "The update at 2026-01-02 03:04:05 failed: the disk is full",
      "python3 stays at 3.12.1-r0: with 3.12.2-r0 hello does not start (ImportError: x).",
      "hello goes on with files from before an update: it does not start with the new ones.",
      "A restart is wanted: the kernel 6.1 was replaced by 6.2. npx chillbox update --reboot",
      "",
    ]);
  });

  it("says that the disk is nearly full, and whose site was ended for it", () => {
    const [site] = status.sites;
    assert.ok(site);
    const disk = { totalBytes: 100, availableBytes: 12 };
    const sites = [{ ...site, overDisk: { takenMiB: 900, shareMiB: 500 } }];
    const said = renderStatus({ ...status, server: { ...status.server, disk }, sites });
    assert.match(said, /^The disk is nearly full: /m);
    assert.match(said, /^hello was ended: its data, \/var\/lib\/hello, takes 900 MiB .* its share is 500 MiB\. /m);
    assert.doesNotMatch(renderStatus(status), /nearly full|ended: /);
  });

  it("calls a site's Redis and cron what people call them", () => {
    const [site] = status.sites;
    const services = ["_redis", "_cron"].map((name) => ({ ...service, name }));
    assert.ok(site);
    assert.match(renderStatus({ ...status, sites: [{ ...site, services }] }), / Redis up 2 h, Cron up 2 h /);
  });

  it("says of a service why it is not up", () => {
    const down = { ...service, up: false, ready: false, seconds: 1 };
    assert.equal(stateOf({ ...service, ready: false, seconds: 3 }), "starting for 3 s");
    assert.equal(stateOf({ ...down, signal: "SIGKILL" }), "down 1 s (killed by SIGKILL; starts again)");
    assert.match(stateOf({ ...down, exitCode: 1, wanted: false }), /exit code 1; is not started again: it ended too/);
    assert.match(stateOf(down), /never ran/);
    assert.equal(stateOf({ ...down, lacksSecrets: true }), "waits for its secrets: npx chillbox secrets");
    assert.equal(stateOf({ ...down, locked: true }), "locked: npx chillbox unlock");
  });

  it("tells of certificates that cannot be read, have ended, or end soon for the time that they live, and of no others", () => {
    const now = Date.parse("2026-01-02T00:00:00Z");
    const notes = (expires: string | null, more: Partial<CertificateStatus> = {}) => {
      const [site] = status.sites;
      assert.ok(site);
      const certificate = { file: "/etc/hello.pem", expires };
      const sites = [{ ...site, pin: null, services: [], certificate }];
      const certificates = [{ slug: site.slug, names: [], failing: [], ...more }];
      return renderStatus({ ...status, sites, certificates }, now).split("\n\n")[2] ?? "";
    };
    assert.match(notes(null), /^hello's certificate \/etc\/hello\.pem cannot be read\.$/m);
    assert.match(notes("2026-01-01T00:00:00Z"), /^hello's certificate ended at 2026-01-01 00:00:00\.$/m);
    assert.match(notes("2026-01-15T23:59:00Z"), /ends in 13 d/);
    assert.equal(notes("2026-01-18T00:00:00Z"), "");
    // Of six days the server renews with two left.
    const short = (expires: string) => ({ certificate: { issued: "2025-12-28T00:00:00Z", expires } });
    assert.equal(notes("2026-01-03T12:00:00Z", short("2026-01-03T12:00:00Z")), "");
    assert.match(notes("2026-01-02T23:00:00Z", short("2026-01-02T23:00:00Z")), /ends in 23 h/);
    const byLaptop = {
      byLaptop: true,
      certificate: { issued: "2025-11-01T00:00:00Z", expires: "2026-01-30T00:00:00Z" },
    };
    assert.match(notes("2026-01-30T00:00:00Z", byLaptop), /ends in 28 d, .*npx chillbox certs orders the next one/);
    assert.equal(notes("2026-01-30T00:00:00Z", { ...byLaptop, byLaptop: false }), "");
  });

  it("shows deploys, the oldest first", () => {
    const [site] = status.sites;
    assert.ok(site?.lastDeploy);
    assert.equal(
      renderDeploys([site.lastDeploy]),
      [
        "WHEN (UTC)           WHO        FROM                TO                  RESULT       WHY",
        "2026-01-02 03:04:05  me@laptop  1.1.0+0123456789ab  1.0.0+0123456789ab  rolled back  it broke",
        "",
      ].join("\n"),
    );
  });

  it("gives time in the largest unit that counts at least two", () => {
    const times = [0, 119, 120, 7199, 7200, 172_799, 172_800].map(duration);
    assert.deepEqual(times, ["0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 d"]);
  });

  it("aligns columns and leaves no blanks at the ends of lines", () => {
    assert.equal(
      renderTable(
        [
          ["a", "bb", ""],
          ["ccc", "d"],
        ],
        " ",
      ),
      " a    bb\n ccc  d\n",
    );
    assert.equal(renderTable([]), "");
  });

  it("keeps from a terminal what it would obey", () => {
    assert.equal(plainText("a\tb\n\u001b]0;x\u0007\u009b1m é"), "a\tb\n?]0;x??1m é");
  });
});

describe("the connection to a server", () => {
  async function serverFor(t: TestContext, changes: Partial<Connection> = {}): Promise<Connection> {
    const { port, hostKey, privateKey } = await startSshServer(t);
    return { host: "127.0.0.1", port, user: "tester", hostKey, privateKey, ...changes };
  }

  it("runs a command with input and passes on output and exit code", async (t) => {
    const client = await connect(await serverFor(t));
    t.after(() => client.end());
    assert.deepEqual(await run(client, "cat; echo oops >&2; exit 7", "in"), {
      code: 7,
      output: "in",
      errors: "oops\n",
    });
    assert.equal((await run(client, "kill -KILL $$")).code, 255);
    const cut = run(client, "sleep 3");
    setTimeout(() => client.end(), 100);
    assert.equal((await cut).code, 255, "the connection was lost");
    assert.equal((await run(client, "true")).code, 255, "no other one is made");
  });

  it("starts a command while its input is still being made", async (t) => {
    const client = await connect(await serverFor(t));
    t.after(() => client.end());
    const { promise, resolve } = Promise.withResolvers<string>();
    const waiting = run(client, "echo first; cat", promise);
    setTimeout(() => resolve("then"), 200);
    assert.equal((await waiting).output, "first\nthen");
    const late = new Promise<string>((done) => setTimeout(() => done("too late"), 200));
    assert.deepEqual(await run(client, "echo no >&2; exit 3", late), { code: 3, output: "", errors: "no\n" });
    await assert.rejects(run(client, "cat", Promise.reject(new UserError("no input"))), /no input/);
    assert.equal((await run(client, "cat", "goes on")).output, "goes on");
  });

  it("reads JSON answers, and tells a failure as the server's command told it", async (t) => {
    const client = await connect(await serverFor(t));
    t.after(() => client.end());
    assert.deepEqual(await ask(client, "cat", { slug: "hello" }), { slug: "hello" });
    await assert.rejects(
      ask(client, "printf 'chillbox-site-log: %s\\n' 'step: look' 'fatal: no such site' >&2; exit 1"),
      (error) => {
        assert.ok(error instanceof UserError);
        assert.equal(error.message, "no such site");
        return true;
      },
    );
    await assert.rejects(ask(client, "no-such-command"), /the next `up` brings its scripts up to date/);
  });

  it("refuses a server with another key before anything is sent", async (t) => {
    const connection = await serverFor(t, { hostKey: newKey().public });
    await assert.rejects(connect(connection), /another host key than the stack knows.*Nothing was sent\./);
  });

  it("says when it is not let in, or nobody answers", async (t) => {
    await assert.rejects(connect(await serverFor(t, { privateKey: newKey().private })), /does not let tester in/);
    await assert.rejects(connect(await serverFor(t, { port: 1 })), /Connection refused.*cloud status/);
  });
});
