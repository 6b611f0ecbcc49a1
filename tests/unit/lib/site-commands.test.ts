import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import { execa } from "execa";
import { siteVariables, unknownSurroundings } from "../../../lib/manifest.ts";
import { buildRelease } from "../../../lib/release.ts";
import { commandsDigest, commandsOf, showCommands } from "../../../lib/site-commands.ts";
import { readSiteFile } from "../../../lib/site-file.ts";
import { checkSites } from "../../../lib/sites.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const sites = join(folder, "sites");
const artifactsFolder = join(folder, "artifacts");
const surroundings = unknownSurroundings({
  serverName: "box.test",
  techEmail: "t@box.test",
  manageDns: true,
  acmeServer: "https://acme.test/dir",
  tls: true,
  s3Endpoint: "http://nyc3.spaces.test",
});
const makefile = `
all:
	mkdir -p dist/a/shop/nginx/templates dist/i/shop
	echo 'server { listen 80; server_name shop.test; }' > dist/a/shop/nginx/templates/shop.nginx.conf.template
	tar -C dist/a -czf dist/artifact.tar.gz shop
	tar -C dist/i -czf dist/immutable.tar.gz shop
	echo make >> ${folder}/runs
inspect.VERSION:
	@cat VERSION
`;

interface Env {
  readonly name: string;
  readonly value?: string;
  readonly cmd?: string;
}

beforeEach(async () => {
  for (const path of [sites, artifactsFolder]) await rm(path, { recursive: true, force: true });
  await mkdir(join(sites, "shop/assets"), { recursive: true });
  await writeFile(join(sites, "shop/Makefile"), makefile);
  await writeFile(join(sites, "shop/VERSION"), "1.0.0\n");
  await writeFile(join(sites, "shop/assets/Makefile"), "inspect.HASH:\n\t@echo 0123456789abcdef0123456789abcdef\n");
  await writeFile(join(folder, "runs"), "");
});

async function write(env: readonly Env[], release = "./shop"): Promise<string> {
  const content = {
    name: "Shop",
    server_name: "shop.test",
    release,
    contact: { owner: "o@shop.test", technical: "t@shop.test" },
    domain_list: ["shop.test"],
    env,
  };
  const path = join(sites, "shop.site.json");
  await writeFile(path, JSON.stringify(content));
  return path;
}

/** What `up` does, with these commands allowed. */
async function check(env: readonly Env[], allowed: readonly Env[] = env, stack = "local") {
  await write(env);
  const allowedCommands = { shop: commandsDigest(commandsOf(allowed)) };
  return checkSites({ folder: sites, artifactsFolder, surroundings, log: () => {}, stack, allowedCommands });
}

async function values(env: readonly Env[]): Promise<Record<string, string>> {
  const [checked] = await check(env);
  assert.ok(checked);
  const all = siteVariables(checked.site, checked.release.version, surroundings);
  return Object.fromEntries(env.map(({ name }) => [name, all.get(name) ?? ""]));
}

const runs = async () => (await readFile(join(folder, "runs"), "utf8")).trim().split("\n");

test("what a command prints is the variable's value, which others may refer to, and refers to others", async () => {
  const env = [
    { name: "PAGE", cmd: "echo 'page of $OWNER'; echo; echo not-this >&2" },
    { name: "OWNER", value: "me" },
    { name: "TITLE", value: "the $PAGE" },
    { name: "TWO", value: "in the file", cmd: "printf 'one\\ntwo\\n\\n'" },
    { name: "SITE__chillbox", cmd: "echo server" },
  ];
  assert.deepEqual(await values([...env, { name: "SITE", value: "laptop" }]), {
    PAGE: "page of me",
    OWNER: "me",
    TITLE: "the page of me",
    TWO: "one\ntwo",
    SITE__chillbox: "server",
    SITE: "server",
  });
});

test("a command runs once for each version, after make, in the release's folder", async () => {
  const env = [{ name: "HERE", cmd: `echo command >> ${folder}/runs; ls dist/artifact.tar.gz VERSION; cat VERSION` }];
  const first = await values(env);
  assert.deepEqual(first, { HERE: "VERSION\ndist/artifact.tar.gz\n1.0.0" });
  assert.deepEqual(await values(env), first);
  assert.deepEqual(await runs(), ["make", "command"]);
  await writeFile(join(sites, "shop/VERSION"), "1.1.0\n");
  assert.deepEqual(await values(env), { HERE: "VERSION\ndist/artifact.tar.gz\n1.1.0" });
  assert.deepEqual(await runs(), ["make", "command", "make", "command"]);
});

test("make's own command for a hash gives the hash alone", async () => {
  const { HASH } = await values([{ name: "HASH", cmd: "make --directory=assets inspect.HASH" }]);
  assert.equal(HASH, "0123456789abcdef0123456789abcdef");
});

test("a command sees an allow-list of variables only", async () => {
  process.env.PULUMI_CONFIG = "secret";
  process.env.HTTP_PROXY = "http://127.0.0.1:1";
  try {
    const { NAMES = "" } = await values([{ name: "NAMES", cmd: "env | cut -d= -f1" }]);
    assert.match(NAMES, /^PATH$/m);
    assert.doesNotMatch(NAMES, /PULUMI|PROXY/);
  } finally {
    delete process.env.PULUMI_CONFIG;
    delete process.env.HTTP_PROXY;
  }
});

test("a command that fails is told with site file, key, command, exit code and last lines, and keeps nothing", async () => {
  const env = [
    { name: "A", value: "a" },
    { name: "B", cmd: "echo first; echo last >&2; exit 3" },
  ];
  await assert.rejects(check(env), {
    name: "UserError",
    message:
      /sites\/shop\.site\.json: the command of "env\[1\]\.cmd" \(of B\) failed \(exit 3\)[\s\S]* echo first; echo last >&2; exit 3\nIt said last:\nfirst\nlast$/,
  });
  assert.ok(!existsSync(join(artifactsFolder, "shop")));
  await assert.rejects(check([{ name: "B", cmd: "kill -9 $$" }]), { message: /failed \(exit 137\)/ });
  await assert.rejects(check([{ name: "B", cmd: "head -c 70000 /dev/zero | tr '\\0' x" }]), { message: /65536 char/ });
});

/** A shell loop that goes on until it is ended, and how to see that it has ended. */
const beat = `while sleep 0.1; do echo x >> ${folder}/runs; done`;
async function assertSilent(): Promise<void> {
  const before = await readFile(join(folder, "runs"), "utf8");
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(await readFile(join(folder, "runs"), "utf8"), before);
}

test("a command that takes too long is ended with all that it started", async () => {
  const site = await readSiteFile(await write([{ name: "SLOW", cmd: `${beat} & wait` }]));
  await assert.rejects(buildRelease(site, { artifactsFolder, commandSeconds: 1 }), {
    name: "UserError",
    message: /"env\[0\]\.cmd" \(of SLOW\) took more than 1 s and was ended/,
  });
  assert.ok((await runs()).includes("x"), "it has run");
  await assertSilent();
});

test("a command ends with chillbox", async () => {
  const module = join(import.meta.dirname, "../../../lib/laptop-process.ts");
  const script = `import { runCommand } from ${JSON.stringify(module)};
    await runCommand(${JSON.stringify(`echo begun >&2; ${beat} & wait`)}, 60, { folder: "/", log: console.log });`;
  const chillbox = execa(process.execPath, ["--input-type=module", "--eval", script], { reject: false, buffer: false });
  await new Promise((resolve) => chillbox.stdout.once("data", resolve));
  while (!(await runs()).includes("x")) await new Promise((resolve) => setTimeout(resolve, 20));
  chillbox.kill("SIGINT");
  assert.equal((await chillbox).signal, "SIGINT");
  await assertSilent();
});

test("what a command leaves in the background does not hold the build up, and is ended", async () => {
  assert.deepEqual(await values([{ name: "A", cmd: `${beat} & sleep 0.3; echo a` }]), { A: "a" });
  assert.ok((await runs()).includes("x"), "it has run");
  await assertSilent();
});

test("commands that nobody allowed stop everything before it runs, and are shown with the way out", async () => {
  const env = [
    { name: "A", value: "a" },
    { name: "B", cmd: `touch ${folder}/ran` },
    { name: "C", cmd: "one\ntwo" },
  ];
  const shown = `env\\[1\\]\\.cmd, the value of B:\n      touch ${folder}/ran\n  env\\[2\\]\\.cmd, the value of C:\n      one\n      two`;
  await write(env);
  await assert.rejects(checkSites({ folder: sites, artifactsFolder, surroundings, log: () => {} }), {
    name: "UserError",
    message: new RegExp(
      `/sites/shop\\.site\\.json: these commands, .* are not allowed yet:\n  ${shown}\nIf they may run: npx chillbox site allow shop$`,
    ),
  });
  await assert.rejects(check(env, [...env.slice(0, 2), { name: "C", cmd: "one" }], "production"), {
    name: "UserError",
    message: /have changed since they were allowed:[\s\S]*site allow shop --stack production$/,
  });
  assert.deepEqual(await runs(), [""], "make has not run");
  assert.deepEqual(await readdir(folder), ["runs", "sites"]);
});

test("a version does not change: other commands need another version, as other files do", async () => {
  const env = [{ name: "A", cmd: "echo one" }];
  assert.deepEqual(await values(env), { A: "one" });
  const changed = [{ name: "A", cmd: "echo two" }];
  await assert.rejects(check(changed), {
    name: "UserError",
    message: /"env\[0\]\.cmd" \(of A\): version 1\.0\.0 is built already, with other commands\..* raise the version\.$/,
  });
  assert.deepEqual(await values([]), {}, "a variable may go, like one with a plain value");
  await writeFile(join(sites, "shop/VERSION"), "1.1.0\n");
  assert.deepEqual(await values(changed), { A: "two" });
});

test("what would hide on a terminal is shown", () => {
  const hidden = "echo a\r\u001b[2Kb\u202e\u200b\u2028c\nd";
  assert.equal(
    showCommands([{ key: "env[0].cmd", name: "A", cmd: hidden }]),
    "  env[0].cmd, the value of A:\n      echo a\\u{d}\\u{1b}[2Kb\\u{202e}\\u{200b}\\u{2028}c\n      d",
  );
});
