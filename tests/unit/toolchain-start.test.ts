import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { execa } from "execa";
import { cacheFolder as cacheFolderOfLibrary } from "../../lib/cache-folder.ts";
import { shellQuote } from "../../toolchain/environment.ts";
import { cacheFolder, runsTypeScript } from "../../toolchain/start.mjs";

const repository = join(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "chillbox-start-"));
after(() => rmSync(folder, { recursive: true }));

/** A project that is nothing but start.mjs and a script, without dependencies. */
function makeProject(name: string, script: string): string {
  const project = join(folder, name);
  mkdirSync(join(project, "toolchain"), { recursive: true });
  for (const file of ["toolchain/start.mjs", "toolchain/stripped-types.mjs"])
    cpSync(join(repository, file), join(project, file));
  cpSync(join(repository, "toolchain/node"), join(project, "toolchain/node"), { recursive: true });
  const manifest = { name, version: "1.0.0", type: "module" };
  writeFileSync(join(project, "package.json"), JSON.stringify(manifest));
  const lock = { name, version: "1.0.0", lockfileVersion: 3, requires: true, packages: { "": manifest } };
  writeFileSync(join(project, "package-lock.json"), JSON.stringify(lock));
  writeFileSync(join(project, "script.ts"), script);
  return project;
}

/** Makes the Node that runs start.mjs believe that it is an old one; the first `node` on PATH is a good one. */
function oldNode(project: string): { args: string[]; env: NodeJS.ProcessEnv } {
  const bin = join(project, "bin");
  mkdirSync(bin);
  writeFileSync(join(bin, "node"), `#!/bin/sh\nexec ${shellQuote(process.execPath)} "$@"\n`);
  chmodSync(join(bin, "node"), 0o755);
  const pretend = 'data:text/javascript,Object.defineProperty(process.versions,"node",{value:"20.11.1"})';
  return { args: ["--import", pretend], env: { ...process.env, PATH: `${bin}:${process.env.PATH}` } };
}

describe("start.mjs", () => {
  for (const [version, runs] of [
    ["22.18.0", true],
    ["22.17.9", false],
    ["20.20.2", false],
    ["23.0.0", true],
    ["100.1.0", true],
  ] as const) {
    it(`knows that Node ${version} ${runs ? "runs" : "does not run"} TypeScript`, () => {
      assert.equal(runsTypeScript(version), runs);
    });
  }

  it("takes the cache from XDG_CACHE_HOME, unless that is relative", () => {
    assert.equal(cacheFolder({ XDG_CACHE_HOME: "/var/cache/me" }), "/var/cache/me/chillbox");
    assert.match(cacheFolder({ XDG_CACHE_HOME: "cache" }), /^\/.*\/\.cache\/chillbox$/);
    assert.match(cacheFolder({}), /^\/.*\/\.cache\/chillbox$/);
    for (const configured of ["/var/cache/me", "cache", "./cache", ""]) {
      const environment = { XDG_CACHE_HOME: configured };
      assert.equal(cacheFolderOfLibrary(environment), cacheFolder(environment));
    }
  });

  it("installs the packages once and hands over arguments and exit code", async () => {
    const script =
      "const words: string[] = process.argv.slice(2);\nconsole.log(JSON.stringify(words));\nprocess.exitCode = 7;\n";
    const project = makeProject("plain", script);
    const run = () =>
      execa(process.execPath, ["toolchain/start.mjs", "script.ts", "a b", "--c"], { cwd: project, reject: false });
    const first = await run();
    assert.equal(first.exitCode, 7, first.stderr);
    assert.deepEqual(JSON.parse(first.stdout), ["a b", "--c"]);
    assert.match(first.stderr, /installing the npm packages/);
    const second = await run();
    assert.equal(second.stderr, "");
    // What npm itself writes when a person installs packages by hand.
    writeFileSync(join(project, "node_modules/.package-lock.json"), '{"packages":{}}');
    writeFileSync(join(project, "package-lock.json"), `${readFileSync(join(project, "package-lock.json"), "utf8")}\n`);
    assert.equal((await run()).stderr, "", "a lock file with the same packages needs no installation");
  });

  it("installs once when two start at the same time", async () => {
    const project = makeProject("twice", 'console.log("ran");\n');
    const run = () => execa(process.execPath, ["toolchain/start.mjs", "script.ts"], { cwd: project });
    const outcomes = await Promise.all([run(), run(), run()]);
    assert.deepEqual(
      outcomes.map((outcome) => outcome.stdout),
      ["ran", "ran", "ran"],
    );
    const installations = outcomes.filter((outcome) => outcome.stderr.includes("installing"));
    assert.equal(installations.length, 1);
  });

  it("tells npm's own words when the packages cannot be installed", async () => {
    const project = makeProject("broken", "");
    const manifest = { name: "broken", version: "1.0.0", type: "module", dependencies: { "left-out": "1.0.0" } };
    writeFileSync(join(project, "package.json"), JSON.stringify(manifest));
    writeFileSync(
      join(project, "package-lock.json"),
      '{"lockfileVersion":3,"packages":{"":{},"node_modules/gone":{}}}',
    );
    const outcome = await execa(process.execPath, ["toolchain/start.mjs", "script.ts"], {
      cwd: project,
      reject: false,
      env: { npm_config_offline: "true" },
    });
    assert.equal(outcome.exitCode, 1);
    assert.match(outcome.stderr, /`npm ci .*` failed in /);
    assert.doesNotMatch(outcome.stderr, /\n\s+at /);
  });

  it("uses a newer Node on PATH when the running one is too old, and ends as that ended", async () => {
    const project = makeProject("old", "console.log(process.versions.node);\nprocess.exitCode = 9;\n");
    const { args, env } = oldNode(project);
    const outcome = await execa(process.execPath, [...args, "toolchain/start.mjs", "script.ts"], {
      cwd: project,
      env,
      reject: false,
    });
    assert.equal(outcome.exitCode, 9, outcome.stderr);
    assert.equal(outcome.stdout, process.versions.node);
    assert.ok(existsSync(join(project, "node_modules/.chillbox-lock")));
  });

  it("passes a signal on to the newer Node", async () => {
    const script =
      'process.on("SIGTERM", () => { console.log("told"); process.exit(3); });\nconsole.log("ready");\nsetInterval(() => {}, 1000);\n';
    const project = makeProject("signal", script);
    const { args, env } = oldNode(project);
    const child = spawn(process.execPath, [...args, "toolchain/start.mjs", "script.ts"], {
      cwd: project,
      env,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (text.includes("ready")) child.kill("SIGTERM");
    });
    const [code] = await once(child, "close");
    assert.match(output, /told/);
    assert.equal(code, 3);
  });
});
