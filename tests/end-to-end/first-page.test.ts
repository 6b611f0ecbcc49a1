import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync } from "node:zlib";
import type { Status } from "../../cli/status.ts";
import { openInBrowser } from "./browser.ts";
import { get } from "./get.ts";
import { listAccount } from "./list-account.ts";
import { folderDigest, machineState } from "./machine.ts";
import { ProjectCopy, patience, repository } from "./project-copy.ts";

/** The main job from beginning to end, on a copy of the project: each step finds what the one before it left. */
describe("from a clone to a page and back", async () => {
  const copy = await ProjectCopy.make();
  const page = `http://hello.test.localhost:${copy.settings.ports.gateway}`;
  const untouched = machineState(copy.settings.id, copy.folder);
  let dropletId = "";

  before(() => {
    process.stderr.write(`end-to-end: the copy is ${copy.folder}\n`);
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    copy.remove();
  });

  it("refuses a taken port before anything is made", async () => {
    const server = createServer().listen(copy.settings.ports.api, "127.0.0.1");
    await refusesAndChangesNothing(copy, new RegExp(`Port ${copy.settings.ports.api}\\b`));
    await new Promise((resolve) => server.close(resolve));
  });

  it("refuses to work without root", async () => {
    // An ordinary user who may read every file: the clone and its tools lie where only root can.
    const caps = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"];
    const ordinary = ["--reuid=65534", "--clear-groups", ...caps, process.execPath, "cli/chillbox.mjs", "up"];
    const outcome = await copy.run("setpriv", ordinary);
    assert.notEqual(outcome.exitCode, 0);
    assert.match(outcome.output, /needs root/);
    assert.doesNotMatch(outcome.output, /\n\s+at /, "a stack trace is no answer for a person");
    assert.equal(folderDigest(join(copy.folder, "state")), "absent");
  });

  it("puts the page online", async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, new RegExp(page));
    const answer = await get(page);
    assert.equal(answer.status, 200);
    assert.match(answer.text, /Hello from <span>chillbox/);
    dropletId = await theDroplet(copy);
  });

  it("answers JSON under /api/ and counts on", async () => {
    const first = await json(`${page}/api/`);
    const second = await json(`${page}/api/`);
    assert.equal(first.version, "1.0.0");
    assert.equal(Number(second.visits), Number(first.visits) + 1);
  });

  it("serves the immutable bundle for a year", async () => {
    const css = await get(page + (await bundleAddress(page)));
    assert.equal(css.status, 200);
    assert.equal(css.headers["cache-control"], "public, max-age=31536000, immutable");
    assert.match(css.headers["content-type"] ?? "", /^text\/css/);
  });

  it("looks right in a browser", async () => {
    const artifact = join(repository, ".chillbox", "test-artifacts", "hello.png");
    const shown = await openInBrowser(page, artifact);
    assert.deepEqual(shown.errors, []);
    assert.equal(shown.title, "Hello from chillbox");
    assert.match(shown.apiText, /^Hello from your own server\. Visit number \d+/);
    assert.equal(shown.cardBorder, "solid", "the style sheet was applied");
    assert.ok(statSync(artifact).size > 10_000);
  });

  it("shows what it made to DigitalOcean's and Amazon's own clients", () => {
    const account = listAccount(copy);
    assert.deepEqual(account.Droplets, ["chillbox-local-1"]);
    assert.equal(account.Images.length, 1);
    assert.equal(account.Firewalls.length, 1);
    assert.ok(account.Domains.includes("hello.test"));
    const keys = Object.values(account.Objects).flat();
    assert.match(keys.join("\n"), /^sites\/hello\/[0-9a-f]{64}\.tar\.gz$/m);
    assert.match(keys.join("\n"), /^hello\/immutable\/assets\/[0-9a-f]{32}\/hello\.css$/m);
    assert.match(keys.join("\n"), /^hello\/versions\/1\.0\.0\/version\.txt$/m);
  });

  it("answers for every name in domain_list and for no other", async () => {
    const www = await get(`http://www.hello.test.localhost:${copy.settings.ports.gateway}`);
    assert.equal(www.status, 200);
    const other = await get(`http://other.test.localhost:${copy.settings.ports.gateway}`);
    assert.equal(other.status, 404);
  });

  it("changes nothing the second time, lets one of two in, and takes no notice of a killed one's lock", async () => {
    await killUp(copy);
    const both = await Promise.all([copy.chillbox(["up", "--yes"]), copy.chillbox(["up", "--yes"])]);
    const [outcome, refused] = both[0].exitCode === 0 ? both : [both[1], both[0]];
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /\d+ unchanged/);
    assert.doesNotMatch(outcome.output, /\d+ (created|updated|replaced|deleted|changed)/);
    assert.notEqual(refused.exitCode, 0, refused.output);
    assert.match(refused.output, /is being changed by `npm run up` \(\S+@\S+, process \d+, since .*\)\. Wait until/);
    assert.equal(await theDroplet(copy), dropletId);
  });

  it("works with plain pulumi in a person's shell", async () => {
    const lock = leaveDeadLock(copy);
    const outcome = await copy.run("sh", ["-euc", readmeBlock(copy, "## Plain Pulumi")]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.ok(!existsSync(join(copy.folder, lock)), "the lock of a process that is no more has gone");
    assert.match(outcome.output, /\d+ unchanged/);
    assert.doesNotMatch(outcome.output, /\d+ to (create|update|replace|delete)/);
  });

  it("takes the README's stack for a real server, and refuses to run it on stand-ins", async () => {
    copy.write("secret", "not-a-real-token\n");
    copy.write("own-passphrase", "only for this test\n");
    const lines = readmeBlock(copy, "## Your own server").replace(/(--secret .*)/g, "$1 < secret");
    const outcome = await copy.shell(
      `export PULUMI_CONFIG_PASSPHRASE_FILE=own-passphrase\n${lines.replace("pulumi up", "pulumi up --yes")}`,
    );
    assert.notEqual(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /stand-in/);
    assert.match(copy.read("Pulumi.production.yaml"), /secure:/);
    assert.doesNotMatch(copy.read("Pulumi.production.yaml"), /not-a-real-token/);
    copy.delete("Pulumi.production.yaml");
    assert.equal((await copy.shell("pulumi stack select local")).exitCode, 0);
  });

  it("keeps no secret in the state", async () => {
    const { output } = await copy.shell("pulumi stack export --stack local");
    const secrets = await knownSecrets(copy);
    assert.ok(secrets.length >= 6, `${secrets.length} secrets`);
    for (const secret of secrets) {
      assert.ok(!output.includes(secret), "pulumi stack export shows a secret");
      assert.deepEqual(filesWith(join(copy.folder, "state"), secret), []);
    }
    assert.doesNotMatch(output, /PRIVATE KEY/);
    assert.deepEqual(filesWith(join(copy.folder, "state"), "PRIVATE KEY"), []);
    assert.deepEqual(filesWith(join(copy.folder, "state"), "#!/bin/sh"), []);
  });

  it("adds the README's first site, and removes it with its file", async () => {
    const outcome = await copy.run("sh", ["-euc", readmeBlock(copy, "## Your first site")]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    const shop = page.replace("hello.test", "shop.test");
    assert.equal((await get(shop)).status, 200);
    assert.equal((await json(`${shop}/api/`)).visits, 1);
    assert.equal((await get(page)).status, 200);

    copy.delete("sites/shop.site.json");
    const removal = await copy.chillbox(["up", "--yes"]);
    assert.equal(removal.exitCode, 0, removal.output);
    assert.equal((await get(shop)).status, 404);
    assert.equal((await get(page)).status, 200);

    const refused = await copy.chillbox(["site", "purge", "hello", "--yes"]);
    assert.match(refused.output, /hello is deployed/);
    const purge = await copy.chillbox(["site", "purge", "shop", "--yes"]);
    assert.match(purge.output, /data +\/var\/lib\/shop\/api[\s\S]*All of it is removed/);
  });

  it("refuses a changed page under the same version", async () => {
    copy.edit("sites/hello/root/index.html", "belongs to you", "belongs to you alone");
    await refusesAndChangesNothing(copy, /version/i);
  });

  it("refuses a command of the site file that nobody has allowed", async () => {
    copy.edit("sites/hello.site.json", '"value": "8001"', '"cmd": "echo 8001"');
    await refusesAndChangesNothing(copy, /hello\.site\.json[\s\S]* echo 8001\n.*: npx chillbox site allow hello$/m);
    assert.equal((await copy.chillbox(["site", "allow", "hello", "--yes"])).exitCode, 0);
  });

  it("updates the site and leaves the droplet when the version is raised", async () => {
    copy.write("sites/hello/VERSION", "1.1.0\n");
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match((await get(page)).text, /belongs to you alone/);
    assert.equal((await json(`${page}/api/`)).version, "1.1.0");
    assert.equal(await theDroplet(copy), dropletId);
  });

  it("goes back to the release before and forth again, and says so", async () => {
    const back = await copy.chillbox(["rollback", "hello"]);
    assert.equal(back.exitCode, 0, back.output);
    assert.equal((await json(`${page}/api/`)).version, "1.0.0");
    const forth = await copy.chillbox(["rollback", "hello", "1.1.0"]);
    assert.equal(forth.exitCode, 0, forth.output);
    assert.equal((await json(`${page}/api/`)).version, "1.1.0");
    const log = await copy.chillbox(["log", "hello"]);
    assert.match(log.output, /installed[\s\S]*rolled back[\s\S]*rolled back/);
    const status = await copy.chillbox(["status"]);
    assert.equal(status.exitCode, 0, status.output);
    assert.match(status.output, /hello[\s\S]*1\.1\.0/);
    const logs = await copy.chillbox(["logs", "hello", "--since", "10m"]);
    assert.match(logs.output, /==> api <==[\s\S]*==> nginx access\.log <==[\s\S]*==> deploys <==[\s\S]*rolled back/);
    const host = await copy.chillbox(["ssh", "--", "hostname"]);
    assert.equal(host.output.trim().split("\n").at(-1), "chillbox-local-1");
    // A shell in a terminal of 100 columns: what is typed arrives there, and its exit code here.
    const typed = "(sleep 5; printf 'stty size; tty; exit 7\\r'; sleep 5)";
    const shell = `stty rows 40 cols 100; exec node cli/chillbox.mjs ssh`;
    const terminal = await copy.run("sh", ["-c", `${typed} | script --quiet --return --command '${shell}' /dev/null`]);
    assert.equal(terminal.exitCode, 7, terminal.output);
    assert.match(terminal.output, /40 100\s+\/dev\/pts\/\d/);
  });

  it("deploys a change without Pulumi, and `up` finds nothing to restart", async () => {
    copy.edit("sites/hello/root/index.html", "belongs to you alone", "belongs to you and me");
    copy.write("sites/hello/VERSION", "1.1.1\n");
    const outcome = await copy.chillbox(["deploy", "hello"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, new RegExp(`hello 1\\.1\\.1\\+[0-9a-f]{12} is at ${page}: visitors got it after`));
    assert.match((await get(page)).text, /belongs to you and me/);
    assert.equal((await json(`${page}/api/`)).version, "1.1.1");
    const again = await copy.chillbox(["deploy", "hello"]);
    assert.match(again.output, /^hello 1\.1\.1\+\w+ is in use already/m);

    const { pid } = await onServer(copy);
    const up = await copy.chillbox(["up", "--yes"]);
    assert.equal(up.exitCode, 0, up.output);
    assert.deepEqual(await onServer(copy), { pid, why: "npx chillbox deploy" }, "the service went on");
  });

  it("goes back to the release before a deploy with its files", async () => {
    copy.write("sites/hello/VERSION", "1.1.2\n");
    assert.equal((await copy.chillbox(["deploy", "hello"])).exitCode, 0);
    copy.write("sites/hello/VERSION", "1.1.1\n");
    const up = await copy.chillbox(["up", "--yes"]);
    assert.equal(up.exitCode, 0, up.output);
    assert.equal((await json(`${page}/api/`)).version, "1.1.1");
  });

  it("refuses to deploy more than a site's own files, and says what does", async () => {
    copy.edit("sites/hello.site.json", '["hello.test"', '["hello.test", "new.hello.test"');
    copy.write("sites/hello/VERSION", "1.1.3\n");
    const outcome = await copy.chillbox(["deploy", "hello"]);
    assert.notEqual(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /hello: domain new\.hello\.test is new\nNothing was deployed\. `npm run up` does all/);
    assert.equal((await json(`${page}/api/`)).version, "1.1.1");
    copy.edit("sites/hello.site.json", ', "new.hello.test"', "");
    copy.write("sites/hello/VERSION", "1.1.1\n");
  });

  it("keeps the service's data across releases", async () => {
    assert.ok(Number((await json(`${page}/api/`)).visits) > 3);
  });

  it("leaves the droplet when image or user-data change", async () => {
    copy.edit("image/setup.sh", "\nset -eu\n", "\nset -eu\n# A change that gives another image.\n");
    copy.edit("lib/first-boot.ts", "#!/bin/sh", "#!/bin/sh\\n# another first boot");
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.equal(await theDroplet(copy), dropletId);
    assert.equal((await get(page)).status, 200);
  });

  const mistakes: readonly [what: string, file: string, from: string, to: string, message: RegExp][] = [
    [
      "a configuration key that does not exist",
      "Pulumi.local.yaml",
      "config:\n",
      "config:\n  chillbox:regoin: nyc3\n",
      /regoin[\s\S]*region/,
    ],
    [
      "a site file with a mistake",
      "sites/hello.site.json",
      '"server_name"',
      '"servername"',
      /hello\.site\.json[\s\S]*server_name/,
    ],
    ["a release without a Makefile", "sites/hello.site.json", '"./hello"', '"./hello/api"', /Makefile/],
  ];
  for (const [what, file, from, to, message] of mistakes) {
    it(`refuses ${what}`, async () => {
      copy.edit(file, from, to);
      try {
        await refusesAndChangesNothing(copy, message);
      } finally {
        copy.edit(file, to, from);
      }
    });
  }

  it("comes back after the local cloud was stopped", async () => {
    assert.equal((await copy.chillbox(["cloud", "stop"])).exitCode, 0);
    assert.equal((await copy.chillbox(["cloud", "start"])).exitCode, 0);
    await answersWithin(page, 30_000);
    assert.equal(await theDroplet(copy), dropletId);
  });

  it("takes everything down and leaves nothing", async () => {
    const outcome = await copy.run("npm", ["run", "down"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.deepEqual(machineState(copy.settings.id, copy.folder), untouched);
    // To a file, for what a shell prints is mixed with the warnings of every tool on the way.
    const exported = join(copy.folder, "exported.json");
    const left = await copy.shell(`pulumi stack export --stack local --file ${exported}`);
    assert.equal(left.exitCode, 0, left.output);
    assert.deepEqual(
      (JSON.parse(readFileSync(exported, "utf8")) as { deployment: { resources?: unknown[] } }).deployment.resources ??
        [],
      [],
    );
  });
});

async function refusesAndChangesNothing(copy: ProjectCopy, message: RegExp): Promise<void> {
  const state = () => ({
    machine: machineState(copy.settings.id, copy.folder),
    state: folderDigest(join(copy.folder, "state")),
    // The local cloud's own data and log go on changing while it runs.
    home: folderDigest(join(copy.folder, ".chillbox"), "cloud"),
  });
  const before = state();
  const outcome = await copy.chillbox(["up", "--yes"]);
  assert.notEqual(outcome.exitCode, 0, "it should have been refused");
  assert.match(outcome.output, message);
  assert.doesNotMatch(outcome.output, /\n\s+at .*:\d+:\d+/, "a stack trace is no answer for a person");
  assert.deepEqual(state(), before);
}

/** Kills an `up`, with its Pulumi, as soon as that has locked the stack: a lock that never expires stays behind. */
async function killUp(copy: ProjectCopy): Promise<void> {
  const up = spawn(process.execPath, ["cli/chillbox.mjs", "up", "--yes"], {
    cwd: copy.folder,
    env: copy.environment,
    stdio: "ignore",
    detached: true,
  });
  const isLocked = () => {
    const folder = join(copy.folder, "state/.pulumi/locks/organization/chillbox/local");
    return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(".json"));
  };
  const limit = Date.now() + 60_000;
  while (!isLocked() && Date.now() < limit) await sleep(20);
  process.kill(-(up.pid ?? 0), "SIGKILL");
  assert.ok(isLocked(), "the killed `up` had the lock");
}

/** The lock of a Pulumi that was killed. Its process number is higher than any can be. */
function leaveDeadLock(copy: ProjectCopy): string {
  const file = "state/.pulumi/locks/organization/chillbox/local/dead.json";
  const lock = { pid: 2 ** 22 + 1, username: "someone", hostname: hostname(), timestamp: "2026-01-01T00:00:00Z" };
  copy.write(file, JSON.stringify(lock));
  return file;
}

async function theDroplet(copy: ProjectCopy): Promise<string> {
  const credentials = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as { token: string };
  const answer = await fetch(`${copy.settings.apiEndpoint}/v2/droplets`, {
    headers: { Authorization: `Bearer ${credentials.token}` },
  });
  const { droplets } = (await answer.json()) as { droplets: { id: number }[] };
  assert.equal(droplets.length, 1);
  return String(droplets[0]?.id);
}

/** The main process of hello's service, and why hello was last changed. */
async function onServer(copy: ProjectCopy): Promise<{ pid: number | undefined; why: string | undefined }> {
  const { output } = await copy.chillbox(["status", "--json"]);
  const { sites } = JSON.parse(output.slice(output.indexOf("{"))) as Status;
  const hello = sites.find(({ slug }) => slug === "hello");
  return { pid: hello?.services[0]?.pid, why: hello?.lastDeploy?.why };
}

async function json(address: string): Promise<Record<string, unknown>> {
  const answer = await get(address);
  assert.equal(answer.status, 200, address);
  return JSON.parse(answer.text) as Record<string, unknown>;
}

async function bundleAddress(page: string): Promise<string> {
  const { text } = await get(page);
  const match = /href="(\/immutable\/assets\/[0-9a-f]{32}\/hello\.css)"/.exec(text);
  assert.ok(match?.[1], "the page names its style sheet");
  return match[1];
}

/** The first shell block below a heading of the README: what a newcomer types. */
function readmeBlock(copy: ProjectCopy, heading: string): string {
  const block = copy
    .read("README.md")
    .split(heading)[1]
    ?.match(/```sh\n([\s\S]*?)```/)?.[1];
  assert.ok(block, `README.md has no shell block under "${heading}"`);
  return block;
}

/**
 * Values that must never be readable: the local cloud's credentials, the passphrase of the stack, and what the state itself keeps sealed:
 * each Spaces key that was made, each line of a private key, user-data.
 */
async function knownSecrets(copy: ProjectCopy): Promise<string[]> {
  const credentials = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as Record<string, string>;
  const opened = await copy.shell("pulumi stack export --stack local --show-secrets");
  assert.equal(opened.exitCode, 0);
  const made = [...opened.output.matchAll(/secretKey\\*"+:\s*\\*"+([A-Za-z0-9+/=]{20,})/g)].map((match) => match[1]);
  const sealed = [...opened.output.matchAll(/[A-Za-z0-9+/]{64}(?=\\+n)/g)].map((match) => match[0]);
  assert.ok(made.length >= 2, "the Spaces keys are in the opened state");
  assert.ok(sealed.length >= 5, "private keys and the envelope are in the opened state");
  const all = [
    credentials.token,
    credentials.spacesSecretKey,
    copy.read(".chillbox/passphrase").trim(),
    ...made,
    ...sealed,
  ];
  return [...new Set(all)].filter((secret) => secret !== undefined);
}

/** Files below a folder whose content, plain or unpacked, holds the text. */
function filesWith(folder: string, text: string): string[] {
  return readdirSync(folder, { recursive: true })
    .map((name) => join(folder, String(name)))
    .filter((path) => statSync(path).isFile() && unpacked(path).includes(text));
}

function unpacked(path: string): string {
  const content = readFileSync(path);
  return (path.endsWith(".gz") ? gunzipSync(content) : content).toString("latin1");
}

async function answersWithin(address: string, milliseconds: number): Promise<void> {
  const end = Date.now() + milliseconds * patience;
  while (Date.now() < end) {
    const answer = await get(address).catch(() => undefined);
    if (answer?.status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  assert.fail(`${address} did not answer within ${milliseconds / 1000} s`);
}
