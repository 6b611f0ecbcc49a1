import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import { get } from "../end-to-end/get.ts";
import { type Outcome, ProjectCopy, repository } from "../end-to-end/project-copy.ts";
import { eventually } from "../local-cloud/running-cloud.ts";
import { type Canary, CanarySearch, type Hit } from "./canary.ts";
import { api, type Droplet, dropletRoot } from "./droplet.ts";
import { ProcessWatch } from "./process-watch.ts";
import { stackSecrets, textCanary } from "./stack-secrets.ts";

const word = () => randomBytes(24).toString("base64");
/** Values that every form of writing changes. */
const value = `a "${word()}" \\ # = %41 ü`;
const file = `[api]\npassword = ${word()}\n`;
const opened = word();
const planted = textCanary("planted on purpose", word());
const chosen: readonly Canary[] = [
  textCanary("a site's secret", value.slice(3, 35)),
  textCanary("a site's secrets file", file.slice(17)),
  textCanary("what is in the envelope", opened),
];

/** In `.chillbox/`: where secrets belong (the passphrase's own file, what DigitalOcean itself would know), and the image, which is older than they. */
const leftOut = /^(passphrase|cloud\/(credentials\.json|api\.sqlite(-wal|-shm)?|images\/.*))$/;

/** One stack's life, with a secret of every kind; after each step nobody finds one where it does not belong. */
describe("canaries in every kind of secret", async () => {
  const copy = await ProjectCopy.make();
  const home = join(copy.folder, ".chillbox");
  const said: string[] = [];
  let canaries: readonly Canary[] = [planted, ...chosen];
  let search = new CanarySearch(canaries);
  const watch = new ProcessWatch(copy.settings, copy.folder, () => search);

  before(() => {
    copy.write("envelope-canary", opened);
    copy.edit(
      "lib/first-boot.ts",
      "# First boot of a chillbox server",
      `# \${readFileSync("envelope-canary", "utf8")}`,
    );
    copy.write("lib/first-boot.ts", `import { readFileSync } from "node:fs";\n${copy.read("lib/first-boot.ts")}`);
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    await watch.stop();
    copy.remove();
  });

  /** Runs a command and keeps what it said: that is searched, too. */
  async function told(outcome: Promise<Outcome>, code = 0): Promise<string> {
    const { exitCode, output } = await outcome;
    assert.equal(exitCode === 0, code === 0, output);
    said.push(output);
    return output;
  }

  async function theDroplet(): Promise<number> {
    const { droplets } = await api<{ droplets: Droplet[] }>(copy.settings, "GET", "droplets");
    assert.equal(droplets.length, 1);
    return droplets[0]?.id ?? 0;
  }

  /** Everything that is on the laptop, and what a copy of the server's disk would show. */
  async function everywhere(): Promise<Hit[]> {
    const hits = [
      ...(await search.inFolder(join(copy.folder, "state"))),
      ...(await search.inFile(join(copy.folder, "Pulumi.local.yaml"))),
      ...(await search.inFolder(home, (name) => leftOut.test(name))),
      ...(await search.inBytes(Buffer.from(said.join("\n")), "what commands said")),
      ...watch.hits,
    ];
    for (const name of readdirSync("/dev/shm").filter((each) => each.startsWith("chillbox-"))) {
      hits.push(...(await search.inFolder(join("/dev/shm", name))));
    }
    return hits;
  }

  async function nowhere(): Promise<void> {
    assert.deepEqual(await everywhere(), []);
  }

  async function knowMore(): Promise<void> {
    canaries = [planted, ...chosen, ...(await stackSecrets(copy))];
    search = new CanarySearch(canaries);
  }

  it("up", async () => {
    await told(copy.chillbox(["up", "--yes"]));
    await knowMore();
    const names = canaries.map(({ name }) => name).join("\n");
    for (const kind of [
      /API/,
      /account's Spaces/,
      /stack's passphrase/,
      /key-passphrase/,
      /download-key's secret/,
      /upload-key's secret/,
      /admin-key/,
      /envelope/,
      /host-key/,
    ]) {
      assert.match(names, kind);
    }
    await nowhere();
  });

  it("the state shows what docs/security.md says, and nothing else", () => {
    const table =
      readFileSync(join(repository, "docs/security.md"), "utf8").split("| in the checkpoint |")[1]?.split("\n\n")[0] ??
      "";
    const documented = [...table.matchAll(/^\| (.*?) \|/gm)].flatMap(([, cell = ""]) =>
      [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]),
    );
    const state = JSON.parse(copy.read("state/.pulumi/stacks/chillbox/local.json")) as {
      checkpoint: { latest: object };
    };
    assert.deepEqual([...readable(state.checkpoint.latest)].sort(), documented.sort());
  });

  it("Pulumi's own logs are for their owner alone, and go when they are old or too many", async () => {
    const logs = join(home, "pulumi/logs");
    const modes = [logs, ...readdirSync(logs).map((name) => join(logs, name))].map(
      (path) => statSync(path).mode & 0o777,
    );
    assert.deepEqual([...new Set(modes)], [0o700, 0o600]);
    const old = [8, 2, 1].map((days) => {
      const when = new Date(Date.now() - days * 86_400_000).toISOString().replace(/[-:]|\..*/g, "");
      return join(logs, `pulumi-${when}-1-planted.log`);
    });
    for (const name of old) {
      writeFileSync(name, "");
      truncateSync(name, 30 << 20);
    }
    await told(copy.shell("pulumi stack ls"));
    assert.deepEqual(old.map(existsSync), [false, false, true], "one is too old, and two are more than 50 MB");
    rmSync(old[2] ?? "");
  });

  it("a change, by key and by whole file", async () => {
    copy.edit(
      "sites/hello.site.json",
      '"log_level": "info",',
      '"log_level": "info",\n      "secrets_config": "api.cfg",',
    );
    copy.write("sites/hello/VERSION", "1.1.0\n");
    copy.write("value", value);
    copy.write("file", file);
    await told(copy.shell("pulumi config set --secret --stack local --path secrets.hello.api.PASSWORD <value"));
    await told(copy.chillbox(["up", "--yes"]));
    await told(copy.shell("npx chillbox secrets set hello api <file && npx chillbox up --yes && npx chillbox secrets"));
    await knowMore();
    const name = `${dropletRoot(copy.settings, await theDroplet())}/run/tmp/chillbox_secrets/hello/api/api.cfg`;
    assert.equal(readFileSync(name, "utf8"), file, "the service has its secrets");
    await nowhere();
  });

  it("a failure, while everything tells all that it can", async () => {
    const before = copy.read("ansible/run.ts");
    const log = join(copy.folder, "ansible.log");
    copy.edit(
      "ansible/run.ts",
      'LANG: "C.UTF-8",',
      `LANG: "C.UTF-8", ANSIBLE_VERBOSITY: "4", ANSIBLE_LOG_PATH: "${log}",`,
    );
    copy.edit(
      "server-scripts/chillbox-configure",
      "configure_releases() {",
      "configure_releases() {\n  die failed-on-purpose",
    );
    const refused = await copy.chillbox(["up", "--yes", "--", "--debug"]);
    assert.match(refused.output, /With --debug Pulumi shows secrets in plain text/);
    const output = await told(copy.chillbox(["up", "--yes", "--", "--diff"]), 1);
    assert.match(output, /failed-on-purpose/);
    said.push(readFileSync(log, "utf8"));
    assert.ok((said.at(-1) ?? "").length > 5000, "Ansible said much");
    await nowhere();
    copy.write("ansible/run.ts", before);
    copy.edit("server-scripts/chillbox-configure", "\n  die failed-on-purpose", "");
    await told(copy.chillbox(["up", "--yes"]));
  });

  it("a rollback", async () => {
    await told(copy.chillbox(["rollback", "hello"]));
    await told(copy.chillbox(["rollback", "hello", "1.1.0"]));
    await told(copy.chillbox(["logs", "hello"]));
    await told(copy.chillbox(["status"]));
    await nowhere();
  });

  it("a reboot: no site's secret is on the host, and unlock brings it back", async () => {
    const id = await theDroplet();
    const address = `http://hello.test.localhost:${copy.settings.ports.gateway}`;
    const { action } = await api<{ action: { id: number } }>(copy.settings, "POST", `droplets/${id}/actions`, {
      type: "reboot",
    });
    await eventually("it has booted again", async () => {
      const now = await api<{ action: { status: string } }>(copy.settings, "GET", `actions/${action.id}`);
      return now.action.status === "completed";
    });
    await eventually("the page answers", async () => (await get(address).catch(() => undefined))?.status === 200);
    const run = await search.inFolder(`${dropletRoot(copy.settings, id)}/run`);
    assert.deepEqual(run, []);
    await nowhere();
    await told(copy.chillbox(["unlock"]));
    await eventually(
      "the service answers",
      async () => (await get(`${address}/api/`).catch(() => undefined))?.status === 200,
    );
    await nowhere();
  });

  it("the envelope's key opens nothing any more: the server has no envelope, and takes no second one", async () => {
    const root = dropletRoot(copy.settings, await theDroplet());
    assert.throws(() => readFileSync(`${root}/run/chillbox/envelope.der`), { code: "ENOENT" });
    const again = await copy.chillbox(["ssh", "--", "doas test -s /etc/chillbox/first-boot"]);
    assert.equal(again.exitCode, 0, again.output);
  });

  it("a passphrase in the open is refused, and after another one the old opens nothing that is left", async () => {
    const open = await copy.shell(
      'PULUMI_CONFIG_PASSPHRASE="$(cat .chillbox/passphrase)" pulumi preview --stack local',
    );
    assert.notEqual(open.exitCode, 0, open.output);
    assert.match(open.output, /PULUMI_CONFIG_PASSPHRASE is set/);
    // Pulumi and the program had it, as this test gave it to them; none of chillbox's own commands was started.
    await watch.caughtUp();
    assert.ok(watch.hits.length > 0, "the watch sees it");
    for (const { place } of watch.hits.splice(0)) assert.doesNotMatch(place, /local-commands|ansible|make/);
    const changed = await copy.shell(
      "head -c 30 /dev/urandom | base64 >new\ncat new new | pulumi stack change-secrets-provider passphrase --stack local\numask 077\ncat new >.chillbox/passphrase\nrm new",
    );
    assert.equal(changed.exitCode, 0, changed.output);
    assert.match((await copy.chillbox(["doctor"])).output, /npx chillbox state prune --stack local/);
    assert.match((await copy.chillbox(["state", "prune"])).output, /removed what was left/);
    assert.equal((await copy.chillbox(["status"])).exitCode, 0);
    const spoiled: readonly (readonly [string, RegExp])[] = [
      ["echo other >.chillbox/passphrase", /\.chillbox\/passphrase is not the one that stack local is encrypted with/],
      ["chmod 644 .chillbox/passphrase", /others may open it \(mode 0644\)[\s\S]*chmod 600/],
      ["rm .chillbox/passphrase", /encrypted with a passphrase that is gone/],
    ];
    for (const [spoil, why] of spoiled) {
      await copy.run("sh", ["-c", `cp -p .chillbox/passphrase kept; ${spoil}`]);
      const { exitCode, output } = await copy.chillbox(["status"]);
      await copy.run("mv", ["kept", ".chillbox/passphrase"]);
      assert.equal(exitCode, 1, output);
      assert.match(output, why);
      assert.doesNotMatch(output, /\n\s+at .*:\d+:\d+/);
    }
    await knowMore();
    await nowhere();
  });

  it("`pulumi preview --diff --show-secrets` shows values to who asks for them", async () => {
    await told(copy.shell("pulumi config set --stack local --path 'sshAllowedAddresses[0]' 198.51.100.0/24"));
    const shown = await copy.shell("pulumi preview --diff --show-secrets --stack local");
    assert.match(shown.output, /198\.51\.100\.0\/24/);
    const hidden = await copy.shell("pulumi preview --diff --stack local");
    assert.doesNotMatch(hidden.output, /198\.51\.100\.0\/24/);
    await told(copy.shell("pulumi config rm --stack local sshAllowedAddresses"));
  });

  it("a canary that is planted is found in every place", async () => {
    const hex = planted.value.toString("hex");
    const base64 = Buffer.concat([Buffer.from("x"), planted.value]).toString("base64");
    const buckets = join(home, "cloud/spaces");
    const plants: readonly (readonly [string, string | Buffer])[] = [
      ["state/.pulumi/history/planted.json", JSON.stringify(planted.value.toString())],
      ["state/.pulumi/backups/planted.json", base64],
      [".chillbox/pulumi/logs/planted.log", encodeURIComponent(planted.value.toString())],
      [".chillbox/cloud/log/planted.log", hex.toUpperCase()],
      [".chillbox/cloud/spaces/planted", gzipSync(planted.value)],
    ];
    mkdirSync(buckets, { recursive: true });
    for (const [name, content] of plants) {
      mkdirSync(join(copy.folder, name, ".."), { recursive: true });
      writeFileSync(join(copy.folder, name), content);
    }
    await copy.chillbox(["ssh", "--", `printf %s ${base64} | doas tee /var/log/planted >/dev/null; doas sync`]);
    const child = spawn("sh", ["-c", "sleep 5; :", hex], {
      cwd: copy.folder,
      env: { PATH: process.env.PATH, PLANTED: base64 },
    });
    await sleep(500);
    child.kill();
    const places = (await everywhere()).filter(({ canary }) => canary === planted.name).map(({ place }) => place);
    for (const [name] of plants) assert.ok(places.includes(join(copy.folder, name)), name);
    assert.ok(
      places.some((place) => place.endsWith("disk.raw")),
      places.join("\n"),
    );
    assert.ok(
      places.some((place) => place.includes(": sh -c sleep 5")),
      places.join("\n"),
    );
    for (const [name] of plants) rmSync(join(copy.folder, name));
    watch.hits.length = 0;
  });

  it("destroy, and every process meanwhile", async () => {
    const log = await copy.chillbox(["down"]);
    assert.equal(log.exitCode, 0, log.output);
    said.push(log.output);
    await watch.stop();
    await nowhere();
    assert.ok(watch.seen > 100, `${watch.seen} processes`);
    assert.ok(watch.exceptions > 0, "the one process that Pulumi hands the configuration was seen");
  });
});

/** Which parts of a checkpoint have a value that anybody can read. */
function readable(latest: object): Set<string> {
  const found = new Set<string>();
  const walk = (part: unknown, path: readonly string[]): void => {
    if (typeof part !== "object" || part === null) found.add(nameOf(path));
    else if ("4dabf18193072939515e22adb298388d" in part && "ciphertext" in part) return;
    else for (const [key, each] of Object.entries(part)) walk(each, [...path, Array.isArray(part) ? "[]" : key]);
  };
  walk(latest, []);
  return found;
}

/** `resources[].inputs.NAME`, and of everything else the first word alone. */
function nameOf([first = "", , key = "", name = ""]: readonly string[]): string {
  if (first !== "resources") return first;
  return `resources[].${key}${key === "inputs" || key === "outputs" ? `.${name}` : ""}`;
}
