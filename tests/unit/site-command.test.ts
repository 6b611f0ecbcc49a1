import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { readArchive } from "../../lib/archive.ts";
import { unknownSurroundings } from "../../lib/manifest.ts";
import { checkSites } from "../../lib/sites.ts";
import { ProjectCopy, repository } from "../end-to-end/project-copy.ts";

const copy = await ProjectCopy.make();
after(() => copy.remove());
const site = (...args: string[]) => copy.chillbox(["site", ...args]);
const sites = () => readdirSync(join(copy.folder, "sites")).sort();

/** What `up` does with the sites before it starts anything: it builds and renders each. */
function check() {
  return checkSites({
    folder: join(copy.folder, "sites"),
    artifactsFolder: join(copy.folder, ".chillbox/artifacts"),
    surroundings: unknownSurroundings({
      serverName: "box.test",
      techEmail: "admin@box.test",
      manageDns: true,
      acmeServer: "https://acme.test/dir",
      tls: true,
      s3Endpoint: "http://nyc3.spaces.test",
    }),
    log: () => {},
  });
}

describe("chillbox site new", () => {
  const kinds: [kind: string, artifact: RegExp, immutable: RegExp, locations: string[]][] = [
    ["static", /nginx\/root\/[a-z-]+\.css$/m, /^$/, ["/"]],
    ["immutable", /nginx\/root\/index\.html$/m, /assets\/[0-9a-f]{32}\/[a-z-]+\.css$/m, ["/", "/immutable/"]],
    ["python", /api\/new_python_api\/app\.py$/m, /\/new-python\.js$/m, ["/", "/immutable/", "/api/"]],
    ["worker", /worker\/work\.py$/m, /^$/, ["/"]],
    ["chill", /pages\/templates\/home\.html$/m, /^$/, ["/", "@static"]],
  ];
  for (const [kind, artifact, immutable, locations] of kinds) {
    it(`makes a site of kind ${kind} that can be deployed, with no trace of the example`, async () => {
      const slug = `new-${kind}`;
      const made = await site("new", slug, "--kind", kind);
      assert.equal(made.exitCode, 0, made.output);
      assert.match(made.output, new RegExp(`Made .*sites/${slug}\\.site\\.json[\\s\\S]*npm run up`));
      assert.match((await site("check")).output, /0 errors, 0 warnings/);

      const checked = (await check()).find(({ site: { slug: found } }) => found === slug);
      assert.ok(checked);
      assert.equal(checked.release.version, "0.1.0");
      assert.match(await files(checked.release.artifactPath), artifact);
      const bundles = checked.release.immutable.flatMap(({ folder }) =>
        readdirSync(folder).map((name) => join(folder, name)),
      );
      assert.match(bundles.join("\n"), immutable);
      assert.deepEqual(
        [...checked.release.template.matchAll(/location (\S+) /g)].map(([, path]) => path),
        [...locations, "/.well-known/acme-challenge/"],
      );
      // The word is also a greeting; as a name it is in lower case.
      assert.deepEqual(mentions(join(copy.folder, "sites", slug), /hello/), []);
    });
  }

  it("formats site files as the project does", () => {
    const made = kinds.map(([kind]) => join(copy.folder, `sites/new-${kind}.site.json`));
    execFileSync(process.execPath, [join(repository, "node_modules/@biomejs/biome/bin/biome"), "format", ...made], {
      cwd: copy.folder,
      stdio: "pipe",
    });
  });

  it("gives each service a port of its own, and takes python as the kind", async () => {
    copy.write("sites/half.site.json", '{ "env": [{ "name": "PORT", "value": "8003" }');
    assert.equal((await site("new", "second")).exitCode, 0);
    copy.delete("sites/half.site.json");
    const ports = ["hello", "new-python", "second"].map((slug) => {
      return /"API_PORT", "value": "(\d+)"/.exec(copy.read(`sites/${slug}.site.json`))?.[1];
    });
    assert.deepEqual(ports, ["8001", "8002", "8004"]);
  });

  it("two at once get two ports", async () => {
    const both = await Promise.all([site("new", "one"), site("new", "two")]);
    assert.deepEqual(
      both.map(({ exitCode }) => exitCode),
      [0, 0],
    );
    await check();
  });

  const refusals: [what: string, args: string[], message: RegExp][] = [
    ["a site that is there", ["hello"], /^chillbox: .*sites\/hello\.site\.json exists already\. Choose another slug/],
    ["a folder without a site file", ["lone"], /^chillbox: .*sites\/lone exists already/],
    ["a slug that cannot be", ["../up"], /^chillbox: "\.\.\/up" cannot be a slug/],
    ["a slug in capitals", ["Shop"], /^chillbox: "Shop" cannot be a slug/],
    ["another kind", ["late", "--kind", "php"], /There is no kind "php"\. Kinds: static, .*, worker, chill\./],
  ];
  for (const [what, args, message] of refusals) {
    it(`refuses ${what} and leaves everything as it was`, async () => {
      mkdirSync(join(copy.folder, "sites/lone"), { recursive: true });
      const before = sites();
      const { exitCode, output } = await site("new", ...args);
      assert.equal(exitCode, 1);
      assert.match(output, message);
      assert.doesNotMatch(output, /\n\s+at /);
      assert.deepEqual(sites(), before);
    });
  }

  it("clears away what a killed run left", async () => {
    mkdirSync(join(copy.folder, "sites/.new-left/x"), { recursive: true });
    assert.equal((await site("new", "clean")).exitCode, 0);
    assert.ok(!existsSync(join(copy.folder, "sites/.new-left")));
  });

  it("works as `npx chillbox`", async () => {
    const made = await copy.run("npx", ["chillbox", "site", "new", "by-npx"]);
    assert.equal(made.exitCode, 0, made.output);
    assert.ok(sites().includes("by-npx.site.json"));
  });
});

describe("chillbox site check", () => {
  it("prints places and exits 1 for an error, in each of the files", async () => {
    writeFileSync(join(copy.folder, "a.site.json"), '{\n  "nam": 1\n}\n');
    const { exitCode, output } = await site("check", "sites/hello.site.json", "a.site.json");
    assert.equal(exitCode, 1);
    assert.match(output, /^a\.site\.json:1:1: error: the file lacks "name"\. Rename "nam" to "name"\.$/m);
    assert.match(output, /^a\.site\.json:2:3: warning: "nam" is not a key.* Did you mean "name"\?$/m);
    assert.match(output, /^2 checked: 5 errors, 1 warning$/m);
  });

  it("exits 0 for a warning", async () => {
    copy.write(
      "w.site.json",
      copy.read("sites/hello.site.json").replace("{", '{ "colour": 1,').replace("./h", "sites/h"),
    );
    const { exitCode, output } = await site("check", "w.site.json");
    assert.equal(exitCode, 0, output);
    assert.match(output, /:1:3: warning: "colour"/);
  });

  it("tells programs the same", async () => {
    const { exitCode, output } = await site("check", "--json", "a.site.json");
    assert.equal(exitCode, 1);
    const [file] = JSON.parse(output) as { file: string; problems: Record<string, unknown>[] }[];
    assert.equal(file?.file, "a.site.json");
    const warning = file?.problems.find(({ severity }) => severity === "warning");
    assert.deepEqual(
      { ...warning, what: "", fix: "" },
      {
        severity: "warning",
        path: "nam",
        keys: ["nam"],
        line: 2,
        column: 3,
        what: "",
        fix: "",
      },
    );
  });
});

describe("what is looked at in a release", () => {
  const config = "Pulumi.local.yaml";
  const changes = {
    VERSION: "9.9.9\n",
    "api/hello_api/__init__.py": `KEY = "${["AKIA", "Q3EGUZ5TKJ7LMNOP"].join("")}"\n`,
    "nginx/hello.nginx.conf.template": `${copy.read("sites/hello/nginx/hello.nginx.conf.template").trim().slice(0, -1)}autoindex on; }`,
  };
  const asTheyWere = Object.keys(changes).map((path) => [path, copy.read(`sites/hello/${path}`)] as const);
  before(async () => {
    for (const [path, text] of Object.entries(changes)) copy.write(`sites/hello/${path}`, text);
    await check();
  });
  after(() => {
    copy.delete(config);
    for (const [path, text] of asTheyWere) copy.write(`sites/hello/${path}`, text);
  });

  it("is told as warnings by site check, for people and programs", async () => {
    const { exitCode, output } = await site("check", "sites/hello.site.json");
    assert.equal(exitCode, 0, output);
    assert.match(
      output,
      /^sites\/hello\.site\.json: warning: release .*__init__\.py:1 has what looks like a secret \(AWS/m,
    );
    assert.match(output, /^sites\/hello\.site\.json: warning: release .*gets a list of all.*\[nginx:folder-lists\]$/m);
    assert.match(output, /^1 checked: 0 errors, 2 warnings$/m);
    const [file] = JSON.parse((await site("check", "--json", "sites/hello.site.json")).output);
    assert.deepEqual(
      file.release.findings.map(({ kind, severity }: Record<string, unknown>) => [kind, severity]),
      [
        ["secrets", "warning"],
        ["nginx", "warning"],
      ],
    );
  });

  it("stops an `up` before anything is changed, if config says so", async () => {
    const text = "config:\n  chillbox:analysis:\n    secrets: fail\n";
    copy.write(config, text);
    const up = await copy.chillbox(["up", "--yes"]);
    assert.equal(up.exitCode, 1, up.output);
    assert.match(up.output, /__init__\.py:1 has what looks like a secret[\s\S]*Nothing was deployed/);
    assert.equal(copy.read(config), text);
    assert.ok(!existsSync(join(copy.folder, ".chillbox/cloud")) && !existsSync(join(copy.folder, "state")));
    assert.equal((await site("check", "sites/hello.site.json")).exitCode, 1);
    copy.write(config, text.replace("fail", "off"));
    assert.match((await site("check", "sites/hello.site.json")).output, /0 errors, 1 warning$/m);
  });
});

describe("chillbox site allow", () => {
  const config = "Pulumi.local.yaml";
  const withCommand = (cmd: string) => {
    const env = [
      { name: "API_PORT", value: "8001" },
      { name: "BUILT", cmd },
    ];
    const text = JSON.stringify({ ...JSON.parse(copy.read("sites/hello.site.json")), env });
    copy.write("sites/hello.site.json", text);
  };
  /** The same with a terminal, at which a person types a line. */
  const atTerminal = (answer: string) =>
    copy.run("sh", ["-c", `echo ${answer} | script -qec 'node cli/chillbox.mjs site allow hello' /dev/null`]);

  it("shows the commands and allows nothing without a word", async () => {
    withCommand("date -u");
    const { exitCode, output } = await site("allow", "hello");
    assert.equal(exitCode, 1);
    assert.match(output, /hello\.site\.json[\s\S]*env\[1\]\.cmd, the value of BUILT:\n {6}date -u/);
    assert.match(output, /no terminal to ask\..*: npx chillbox site allow hello --yes$/m);
    assert.ok(!existsSync(join(copy.folder, config)));
  });

  it("asks at a terminal and takes no for an answer", async () => {
    const no = await atTerminal("");
    assert.equal(no.exitCode, 1, no.output);
    assert.match(no.output, /May they run\? \[y\/N\][\s\S]*Nothing was allowed/);
    assert.ok(!existsSync(join(copy.folder, config)));
    const yes = await atTerminal("y");
    assert.equal(yes.exitCode, 0, yes.output);
    assert.match(copy.read(config), /^config:\n {2}chillbox:allowedCommands:\n {4}hello: [0-9a-f]{64}\n$/);
    assert.match((await site("allow", "hello")).output, /allowed already/);
  });

  it("asks again after a change, and leaves the rest of the stack's file alone", async () => {
    const before = copy.read(config).replace("config:\n", "config:\n  # Mine\n  chillbox:size: small\n");
    copy.write(config, before);
    withCommand("date");
    assert.match((await site("check")).output, /warning: "env\[1\]\.cmd" is a command that is not allowed/);
    assert.equal((await site("allow", "hello")).exitCode, 1);
    assert.equal(copy.read(config), before);
    assert.equal((await site("allow", "hello", "--yes")).exitCode, 0);
    const after = copy.read(config);
    assert.notEqual(after, before);
    assert.equal(after.replace(/hello: .*/, ""), before.replace(/hello: .*/, ""));
    assert.match((await site("check")).output, /, 0 warnings/);
  });

  it("gives the permission to the stack that is named, and to none that is not there", async () => {
    const missing = await site("allow", "hello", "--yes", "--stack", "production");
    assert.equal(missing.exitCode, 1);
    assert.match(missing.output, /There is no Pulumi\.production\.yaml/);
    copy.write("Pulumi.production.yaml", "config: {}\n");
    assert.match(
      (await site("allow", "hello", "--stack", "production")).output,
      /allow hello --stack production --yes$/m,
    );
    assert.equal((await site("allow", "hello", "--yes", "--stack", "production")).exitCode, 0);
    assert.match(copy.read("Pulumi.production.yaml"), /hello: [0-9a-f]{64}/);
    copy.delete("Pulumi.production.yaml");
  });

  it("has nothing to do for a site without commands, and names one that is not there", async () => {
    assert.match((await site("allow", "new-static")).output, /has no commands/);
    const { exitCode, output } = await site("allow", "nowhere");
    assert.equal(exitCode, 1);
    assert.match(output, /^chillbox: There is no site "nowhere"/);
  });
});

async function files(archive: string): Promise<string> {
  return (await readArchive(archive)).map(({ path }) => path).join("\n");
}

/** Files below a folder, builds left out, whose name or text has the pattern. */
function mentions(folder: string, pattern: RegExp): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.includes("/dist"))
    .map((entry) => join(entry.parentPath, entry.name))
    .filter((path) => pattern.test(path.slice(folder.length)) || pattern.test(readFileSync(path, "utf8")));
}
