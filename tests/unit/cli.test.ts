import assert from "node:assert/strict";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { execa } from "execa";
import { askSites, isPage } from "../../cli/ask-sites.ts";
import { checkProject } from "../../cli/project-check.ts";
import { checkPassphrase, removeState } from "../../cli/pulumi.ts";
import { readConfig, removeSecrets, stackConfigFile } from "../../cli/stack-config.ts";
import { aloneWithStack } from "../../cli/stack-lock.ts";
import { removeDeadLocks } from "../../cli/state-locks.ts";
import { refuseTelling } from "../../cli/up.ts";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import type { SiteFile } from "../../lib/site-file.ts";
import { UserError } from "../../lib/user-error.ts";

const repository = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "chillbox-cli-"));
after(() => rmSync(folder, { recursive: true }));

function chillbox(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  return execa(process.execPath, ["cli/chillbox.mjs", ...args], { cwd: repository, env, reject: false });
}

describe("chillbox", () => {
  it("refuses options with which Pulumi shows secrets", () => {
    for (const word of ["--debug", "-d", "-v=11", "--verbose=9", "--logtostderr", "--tracing=file:./trace"]) {
      assert.throws(() => refuseTelling(["--diff", word]), /shows secrets in plain text/, word);
    }
    refuseTelling(["--diff", "--target", "urn", "--version", "--show-secrets"]);
  });

  it("lists every file in cli/commands/ as a command", async () => {
    const { stdout, exitCode } = await chillbox(["--help"]);
    assert.equal(exitCode, 0);
    for (const file of readdirSync(join(repository, "cli/commands"))) {
      assert.match(stdout, new RegExp(`^  ${file.replace(/\.ts$/, "")}\\b`, "m"));
    }
  });

  it("refuses a command that does not exist", async () => {
    const { stderr, exitCode } = await chillbox(["upp"]);
    assert.notEqual(exitCode, 0);
    assert.match(stderr, /unknown command 'upp'/);
  });

  it("shows a person's error as its message alone", async () => {
    const { stderr, exitCode } = await chillbox(["env"], { CHILLBOX_PORT_BASE: "eighty" });
    assert.equal(exitCode, 1);
    assert.equal(stderr, 'chillbox: CHILLBOX_PORT_BASE is "eighty": give a port between 1024 and 65000.');
  });

  it("doctor tells programs about every tool and writes nothing", async () => {
    const home = join(folder, "doctor");
    const { stdout } = await chillbox(["doctor", "--json"], { CHILLBOX_HOME: home });
    const findings = JSON.parse(stdout) as { name: string; source: string }[];
    assert.deepEqual(
      findings.filter((each) => each.name.startsWith("pulumi-resource-")).map((each) => each.source),
      ["missing", "missing"],
      "a home that is not set up has no plugins",
    );
    assert.ok(!readdirSync(folder).includes("doctor"));
  });
});

describe("a stack's configuration file", () => {
  const file = join(folder, "Pulumi.local.yaml");

  it("gives values without the namespace, and none when it is missing or empty", async () => {
    assert.deepEqual(await readConfig(join(folder, "Pulumi.none.yaml")), {});
    for (const text of ["", "config:\n", "encryptionsalt: x\n"]) {
      writeFileSync(file, text);
      assert.deepEqual(await readConfig(file), {});
    }
    writeFileSync(file, "config:\n  chillbox:size: small\n");
    assert.deepEqual(await readConfig(file), { size: "small" });
  });

  it("is named with the line when it is damaged", async () => {
    writeFileSync(file, "config:\n  chillbox:size: small\n  chillbox:region: [nyc3\n");
    await assert.rejects(readConfig(file), {
      name: "UserError",
      message: /^.*Pulumi\.local\.yaml is not valid YAML: .*line \d.*$/,
    });
    writeFileSync(file, "config: small\n");
    await assert.rejects(readConfig(file), { name: "UserError", message: /Pulumi\.local\.yaml .*"config"/ });
  });
});

describe("what is thrown away without Pulumi", () => {
  const settings = {
    ...localCloudSettings({ CHILLBOX_HOME: join(folder, "thrown/.chillbox") }),
    repository: join(folder, "thrown"),
  };
  const stacks = join(settings.repository, "state/.pulumi/stacks/chillbox");

  it("is a stack's state whose passphrase is gone, and no other stack's", async () => {
    mkdirSync(stacks, { recursive: true });
    for (const name of ["local.json", "local.json.bak", "production.json"]) writeFileSync(join(stacks, name), "{}");
    assert.throws(() => checkPassphrase(settings), { name: "UserError", message: /down -- --force$/ });
    await removeState(settings);
    assert.deepEqual(readdirSync(stacks), ["production.json"]);
    checkPassphrase(settings);
    await removeState({ ...settings, repository: join(folder, "nowhere") });
  });

  it("is every secret of the stack's file, and no plain value", async () => {
    const file = stackConfigFile(settings);
    assert.equal(await removeSecrets(settings), false);
    const list = "  chillbox:list:\n    - secure: v1:b\n";
    const plain = "config:\n  # Mine\n  chillbox:size: small\n";
    writeFileSync(file, `encryptionsalt: v1:x\n${plain}  chillbox:apiToken:\n    secure: v1:a\n${list}`);
    assert.equal(await removeSecrets(settings), true);
    assert.equal(readFileSync(file, "utf8"), plain);
    for (const text of [plain, "", "# Mine\n"]) {
      writeFileSync(file, text);
      assert.equal(await removeSecrets(settings), false);
      assert.equal(readFileSync(file, "utf8"), text);
    }
  });
});

async function until(isTrue: () => boolean): Promise<void> {
  for (let attempt = 0; attempt < 200 && !isTrue(); attempt++) await sleep(20);
  assert.ok(isTrue());
}

describe("locks of Pulumi's state", () => {
  const locks = "state/.pulumi/locks/organization/chillbox/local";

  function makeLock(name: string, lock: object | string): string {
    const project = join(folder, name);
    mkdirSync(join(project, locks), { recursive: true });
    writeFileSync(join(project, locks, "a.json"), typeof lock === "string" ? lock : JSON.stringify(lock));
    return project;
  }
  const lock = { username: "someone", hostname: hostname(), timestamp: "2026-01-01T00:00:00Z" };

  it("are removed when their process is no more, or its number is another program's", async () => {
    for (const pid of [2 ** 22 + 1, process.pid]) {
      const project = makeLock(`dead-${pid}`, { ...lock, pid });
      await removeDeadLocks(project, "local");
      assert.deepEqual(readdirSync(join(project, locks)), []);
    }
  });

  it("are removed when their process was killed and nobody has asked for its end", async () => {
    copyFileSync("/bin/sleep", join(folder, "pulumi"));
    chmodSync(join(folder, "pulumi"), 0o755);
    // The parent goes on as a program that does not know of its child.
    const parent = execa("sh", ["-c", `${join(folder, "pulumi")} 60 & echo $!; exec sleep 60`], { reject: false });
    try {
      const pid = await new Promise<number>((resolve) => parent.stdout.once("data", (text) => resolve(Number(text))));
      const project = makeLock("zombie", { ...lock, pid });
      await until(() => readFileSync(`/proc/${pid}/stat`, "utf8").includes("(pulumi) S"));
      await assert.rejects(removeDeadLocks(project, "local"), UserError);
      process.kill(pid, "SIGKILL");
      await until(() => readFileSync(`/proc/${pid}/stat`, "utf8").includes("(pulumi) Z"));
      await removeDeadLocks(project, "local");
      assert.deepEqual(readdirSync(join(project, locks)), []);
    } finally {
      parent.kill();
      await parent;
    }
  });

  it("are removed when they were not written to their end", async () => {
    const project = makeLock("half", '{"pid":');
    await removeDeadLocks(project, "local");
    assert.deepEqual(readdirSync(join(project, locks)), []);
  });

  it("of another host are named and stay", async () => {
    const project = makeLock("far", { ...lock, pid: 1, hostname: "another-host" });
    await assert.rejects(removeDeadLocks(project, "local"), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /someone@another-host, process 1, since 2026-01-01 00:00:00 UTC\. Wait/);
      assert.match(error.message, /a\.json/);
      return true;
    });
    assert.deepEqual(readdirSync(join(project, locks)), ["a.json"]);
  });

  it("may be absent", async () => {
    await removeDeadLocks(join(folder, "no-state"), "local");
  });
});

describe("two commands that change stack local", () => {
  const repositoryOfCopy = join(folder, "two");
  const home = join(repositoryOfCopy, ".chillbox");
  const settings = { ...localCloudSettings({ CHILLBOX_HOME: home }), repository: repositoryOfCopy };

  /** Another process that holds the lock until it is ended. */
  async function holdElsewhere() {
    const module = join(repository, "cli/stack-lock.ts");
    const script = `import { aloneWithStack } from ${JSON.stringify(module)};
      await aloneWithStack(${JSON.stringify(settings)}, "npm run up", () => {
        console.log("held");
        return new Promise(() => setInterval(() => {}, 1000));
      });`;
    const holder = execa(process.execPath, ["--input-type=module", "--eval", script], { reject: false, buffer: false });
    await new Promise((resolve) => holder.stdout.once("data", resolve));
    const end = async (signal: "SIGTERM" | "SIGKILL") => {
      holder.kill(signal);
      await holder;
    };
    return { pid: holder.pid, end };
  }
  const enter = () => aloneWithStack(settings, "npm run down", async () => "in");

  it("one is in, and the other is told who it is, since when, and what to do", async () => {
    const holder = await holdElsewhere();
    try {
      const who = `${userInfo().username}@${hostname()}, process ${holder.pid}, since 20..-..-.. ..:..:.. UTC`;
      await assert.rejects(enter(), {
        name: "UserError",
        message: new RegExp(
          `^Stack local is being changed by \`npm run up\` \\(${who}\\)\\. Wait until it has ended, `,
        ),
      });
    } finally {
      await holder.end("SIGTERM");
    }
    assert.equal(await enter(), "in");
  });

  it("a killed one does not keep the other out, and neither does its Pulumi's lock", async () => {
    const holder = await holdElsewhere();
    const locks = join(repositoryOfCopy, "state/.pulumi/locks/organization/chillbox/local");
    mkdirSync(locks, { recursive: true });
    const lock = { pid: holder.pid, username: "someone", hostname: hostname(), timestamp: "2026-01-01T00:00:00Z" };
    writeFileSync(join(locks, "a.json"), JSON.stringify(lock));
    await holder.end("SIGKILL");
    assert.equal(await enter(), "in");
    assert.deepEqual(readdirSync(locks), []);
  });

  it("a Pulumi of a person's own that is at work is respected", async () => {
    const locks = join(repositoryOfCopy, "state/.pulumi/locks/organization/chillbox/local");
    mkdirSync(join(repositoryOfCopy, "bin"), { recursive: true });
    copyFileSync("/bin/sleep", join(repositoryOfCopy, "bin/pulumi"));
    chmodSync(join(repositoryOfCopy, "bin/pulumi"), 0o755);
    const pulumi = execa(join(repositoryOfCopy, "bin/pulumi"), ["60"], { reject: false });
    try {
      const lock = { pid: pulumi.pid, username: "someone", hostname: hostname(), timestamp: "2026-01-01T00:00:00Z" };
      writeFileSync(join(locks, "b.json"), JSON.stringify(lock));
      await assert.rejects(enter(), { name: "UserError", message: /by Pulumi: someone@.*, process \d+, since/ });
      assert.deepEqual(readdirSync(locks), ["b.json"]);
    } finally {
      pulumi.kill("SIGKILL");
      await pulumi;
    }
    assert.equal(await enter(), "in");
  });
});

describe("asking sites from outside", () => {
  const servers: Server[] = [];
  after(() => {
    for (const server of servers) server.close();
  });

  async function gateway(status: number): Promise<number> {
    const server = createServer((question, answer) => {
      answer.writeHead(question.headers.host?.startsWith("www.a.test.localhost:") ? status : 404).end();
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  }
  const site = { slug: "a", serverName: "a.test", domains: ["www.a.test"] } as unknown as SiteFile;

  it("asks by the site's first domain and gives the address to open", async () => {
    const port = await gateway(200);
    const settings = localCloudSettings({ CHILLBOX_PORT_BASE: String(port) });
    assert.deepEqual(await askSites(settings, [site]), [
      { slug: "a", address: `http://www.a.test.localhost:${port}`, status: 200 },
    ]);
  });

  it("counts a page or a redirect as an answer, an error not", () => {
    assert.ok(isPage(200) && isPage(302));
    assert.ok(!isPage(404) && !isPage(503) && !isPage("connect ECONNREFUSED"));
  });
});

describe("the check of the project", () => {
  it("refuses a mistyped key of the stack before anything runs, with the right one", async () => {
    const project = join(folder, "project");
    mkdirSync(join(project, "sites"), { recursive: true });
    const yaml = await execa("cat", [join(repository, "Pulumi.yaml")]);
    writeFileSync(join(project, "Pulumi.yaml"), yaml.stdout);
    writeFileSync(
      join(project, "Pulumi.local.yaml"),
      "config:\n  chillbox:regoin: ams3\n  chillbox:apiToken:\n    secure: x\n",
    );
    const settings = { ...localCloudSettings({ CHILLBOX_HOME: join(project, ".chillbox") }), repository: project };
    await assert.rejects(checkProject(settings), (error) => {
      assert.ok(error instanceof UserError);
      assert.match(error.message, /^chillbox:regoin is not a key.*"region"/);
      assert.equal(error.message.split("\n").length, 1, error.message);
      return true;
    });
    assert.ok(!readdirSync(project).includes(".chillbox"));
    assert.equal(process.env.PULUMI_CONFIG, undefined);
  });
});
