import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, test } from "node:test";
import { readArchive } from "../../../lib/archive.ts";
import { buildRelease } from "../../../lib/release.ts";
import type { SiteFile } from "../../../lib/site-file.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const source = join(folder, "shop");
const artifactsFolder = join(folder, "artifacts");
const hash = "0123456789abcdef0123456789abcdef";
const services = [
  { name: "api", lang: "python", handler: "api", environment: [] },
  { name: "assets", lang: "immutable", handler: "assets", environment: [] },
] as const;
const site: SiteFile = {
  slug: "shop",
  path: join(folder, "shop.site.json"),
  digest: "",
  name: "Shop",
  serverName: "shop.test",
  domains: ["shop.test"],
  release: "./shop",
  env: [],
  services,
  workers: [],
  warnings: [],
};
const makefile = `
all:
	mkdir -p dist/a/shop/api dist/a/shop/nginx/templates dist/i/shop/assets/${hash}
	cp -R page.html api.py dist/a/shop/api/
	echo 'listen 80; # $$\{SERVER_NAME}' > dist/a/shop/nginx/templates/shop.nginx.conf.template
	echo ${hash} > dist/i/shop/assets/hash.txt
	echo 'a{}' > dist/i/shop/assets/${hash}/a.css
	tar -C dist/a -czf dist/artifact.tar.gz shop
	tar -C dist/i -czf dist/immutable.tar.gz shop
	env > "$(LOG)"
	echo run >> "$(LOG).runs"
inspect.VERSION:
	@cat VERSION
`;

beforeEach(async () => {
  await rm(source, { recursive: true, force: true });
  await rm(artifactsFolder, { recursive: true, force: true });
  await rm(join(folder, "log.runs"), { force: true });
  await mkdir(source);
  await writeFile(join(source, "Makefile"), `LOG := ${join(folder, "log")}\n${makefile}`);
  await writeFile(join(source, "VERSION"), "1.0.0\n");
  await writeFile(join(source, "page.html"), "<p>one");
  await writeFile(join(source, "api.py"), "");
});

const build = (changes: Partial<SiteFile> = {}) => buildRelease({ ...site, ...changes }, { artifactsFolder });
const runs = async () => (await readFile(join(folder, "log.runs"), "utf8")).trim().split("\n").length;

async function assertRefused(problem: RegExp, changes: Partial<SiteFile> = {}): Promise<void> {
  await assert.rejects(build(changes), { name: "UserError", message: problem });
  const left = await readdir(join(artifactsFolder, "shop")).catch(() => [""]);
  if (left.length === 0) assert.fail("a refused first build leaves an empty folder");
  assert.deepEqual(
    left.filter((name) => name.startsWith(".")),
    [],
    "a refused build leaves nothing behind",
  );
}

test("a folder is built once, and the artifact is packed anew", async () => {
  const release = await build();
  assert.equal(release.version, "1.0.0");
  assert.match(release.template, /SERVER_NAME/);
  assert.equal(release.immutable[0]?.hash, hash);
  assert.deepEqual(await readdir(release.immutable[0]?.folder ?? ""), ["a.css"]);
  const entries = await readArchive(release.artifactPath, { topFolder: "shop" });
  assert.deepEqual(
    entries.filter(({ kind }) => kind === "file").map(({ path }) => path),
    ["shop/api/api.py", "shop/api/page.html", "shop/nginx/templates/shop.nginx.conf.template"],
  );
  assert.deepEqual(await build(), release);
  assert.equal(await runs(), 1);
});

test("the same tree gives the same artifact, wherever and whenever it is built", async () => {
  const first = await build();
  await rm(artifactsFolder, { recursive: true });
  await writeFile(join(source, "page.html"), "<p>one");
  await mkdir(join(source, "dist"));
  const second = await build();
  assert.equal(second.artifactSha256, first.artifactSha256);
  assert.equal(await runs(), 2);
});

test("a tar file is built like the folder, and gives the same artifact", async () => {
  const fromFolder = await build();
  await rm(artifactsFolder, { recursive: true });
  execFileSync("tar", ["-C", folder, "-czf", join(folder, "shop-1.tar.gz"), "--transform=s/^shop/free-name/", "shop"]);
  const fromTar = await build({ release: join(folder, "shop-1.tar.gz") });
  assert.equal(fromTar.artifactSha256, fromFolder.artifactSha256);
  assert.deepEqual(await build({ release: "shop-1.tar.gz" }), fromTar);
});

test("make sees an allow-list of variables only", async () => {
  process.env.PULUMI_CONFIG = "secret";
  process.env.HTTP_PROXY = "http://127.0.0.1:1";
  try {
    await build();
  } finally {
    delete process.env.PULUMI_CONFIG;
    delete process.env.HTTP_PROXY;
  }
  const names = (await readFile(join(folder, "log"), "utf8")).split("\n").map((line) => line.split("=")[0]);
  assert.ok(names.includes("PATH"));
  assert.ok(!names.some((name) => /PULUMI|PROXY|CONFIG/.test(name ?? "")), names.join(" "));
});

test("changed sources need a new version", async () => {
  await build();
  await writeFile(join(source, "page.html"), "<p>two");
  await assertRefused(
    /version 1\.0\.0 is built already, from other files than those in .*\/shop\. Versions never change: raise the version\./,
  );
  await writeFile(join(source, "VERSION"), "1.0.1");
  assert.equal((await build()).version, "1.0.1");
  await writeFile(join(source, "page.html"), "<p>one");
  await writeFile(join(source, "VERSION"), "1.0.0\n");
  assert.equal((await build()).version, "1.0.0");
  assert.equal(await runs(), 2);
});

test("what is in dist, .git and __pycache__ does not count as a change", async () => {
  const release = await build();
  for (const path of ["dist", ".git", "api/__pycache__"]) {
    await mkdir(join(source, path), { recursive: true });
    await writeFile(join(source, path, "x"), "x");
  }
  assert.deepEqual(await build(), release);
});

test("without inspect.VERSION the site file's version counts", async () => {
  const text = await readFile(join(source, "Makefile"), "utf8");
  await writeFile(join(source, "Makefile"), text.slice(0, text.indexOf("inspect.VERSION:")));
  await assertRefused(/tells no version, and shop\.site\.json has no "version"/);
  assert.equal((await build({ version: "2.0.0" })).version, "2.0.0");
  assert.equal((await build({ version: "2.1.0" })).version, "2.1.0");
  assert.equal((await build({ version: "2.0.0" })).version, "2.0.0");
});

for (const version of ["1.0", "one", "../../x", "1.0.0 and more", "1.0.0\n2.0.0"]) {
  test(`the version ${JSON.stringify(version)} is refused`, async () => {
    await writeFile(join(source, "VERSION"), version);
    await assertRefused(/which is not one like 1\.2\.3/);
  });
}

test("versions with build metadata are fine", async () => {
  await writeFile(join(source, "VERSION"), "0.0.1-alpha.1+g123abc\n");
  assert.equal((await build()).version, "0.0.1-alpha.1+g123abc");
});

test("a release without a Makefile is refused", async () => {
  await rm(join(source, "Makefile"));
  await assertRefused(/has no Makefile/);
});

test("a failing make is told with its last lines", async () => {
  await writeFile(
    join(source, "Makefile"),
    "all:\n\t@echo before; echo boom >&2; exit 3\ninspect.VERSION:\n\t@echo 1.0.0\n",
  );
  await assertRefused(/shop 1\.0\.0: "make" in .* failed \(exit 2\):\nbefore\nboom/);
});

test("missing results are named", async () => {
  const text = await readFile(join(source, "Makefile"), "utf8");
  await writeFile(join(source, "Makefile"), text.replace("tar -C dist/i -czf dist/immutable.tar.gz shop", "true"));
  await assertRefused(/did not make dist\/immutable\.tar\.gz/);
  await writeFile(
    join(source, "Makefile"),
    text.replace("dist/artifact.tar.gz shop", "dist/artifact.tar.gz -C shop api"),
  );
  await assertRefused(/"api.*" is not in the folder "shop", which has to be the only one at the top/);
  await writeFile(join(source, "Makefile"), text.replace("shop.nginx.conf.template", "other.template"));
  await assertRefused(/dist\/artifact\.tar\.gz has no shop\/nginx\/templates\/shop\.nginx\.conf\.template/);
});

test("services must be in the archives, also when only the site file changed", async () => {
  await build();
  const missing = (lang: "python" | "immutable") => [{ name: "other", lang, handler: "other", environment: [] }];
  await assertRefused(/dist\/artifact\.tar\.gz has no shop\/other\/ for the service "other"/, {
    services: missing("python"),
  });
  await assertRefused(/dist\/immutable\.tar\.gz has no shop\/other\/ for the immutable service "other"/, {
    services: missing("immutable"),
  });
  assert.equal(await runs(), 1);
});

test("a missing release is refused", async () => {
  await assertRefused(/there is no folder or file .*\/none/, { release: "./none" });
});

test("a hostile archive is refused before anything of it is written, as the release and as what make builds", async () => {
  const pack = `tar -P --transform='s|\\(.*\\)api.py|\\1../../evil|'`;
  execFileSync("sh", ["-c", `${pack} -C ${folder} -czf ${join(folder, "hostile.tar.gz")} shop`]);
  await assertRefused(/hostile\.tar\.gz: "shop\/\.\.\/\.\.\/evil" has "\.\."/, { release: "hostile.tar.gz" });
  await assert.rejects(runs(), { code: "ENOENT" }, "make has not run");
  const text = await readFile(join(source, "Makefile"), "utf8");
  await writeFile(
    join(source, "Makefile"),
    text.replace("tar -C dist/a", () => `${pack} -C dist/a`),
  );
  await assertRefused(/dist\/artifact\.tar\.gz: "shop\/api\/\.\.\/\.\.\/evil" has "\.\."/);
  assert.ok(!(await readdir(folder, { recursive: true })).some((path) => path.endsWith("evil")));
});

test("the configured limits hold for the release and for both archives that make builds", async () => {
  const limits = { bytes: 1_000_000, entries: 100, ratio: 200 };
  const limited = (entries: number, release = site.release) => {
    return buildRelease({ ...site, release }, { artifactsFolder, limits: { ...limits, entries } });
  };
  execFileSync("tar", ["-C", folder, "-czf", join(folder, "limited.tar.gz"), "shop"]);
  await assert.rejects(limited(3, "limited.tar.gz"), {
    message: /^\S+\/limited\.tar\.gz: .* one more than the 3 entries allowed/,
  });
  await assert.rejects(limited(5), { message: /dist\/artifact\.tar\.gz: .* one more than the 5 entries allowed/ });
  const text = await readFile(join(source, "Makefile"), "utf8");
  const many = text.replace(
    "\ttar -C dist/i",
    () => "\ttouch dist/i/shop/$$(seq -s ' dist/i/shop/' 9)\n\ttar -C dist/i",
  );
  await writeFile(join(source, "Makefile"), many);
  await assert.rejects(limited(9), { message: /dist\/immutable\.tar\.gz: .* one more than the 9 entries allowed/ });
});

test("a make whose inspect.VERSION fails or is silent counts as one without it", async () => {
  const text = await readFile(join(source, "Makefile"), "utf8");
  for (const recipe of ["@echo 9.9.9; exit 1", "@true"]) {
    await writeFile(join(source, "Makefile"), text.replace("@cat VERSION", recipe));
    await assertRefused(/tells no version/);
    assert.equal((await build({ version: "2.0.0" })).version, "2.0.0");
    await rm(artifactsFolder, { recursive: true });
  }
});

test("what make prints is shown while it runs, line by line", async () => {
  const text = await readFile(join(source, "Makefile"), "utf8");
  const go = join(folder, "go");
  const recipe = `all:\n\t@printf 'half '; sleep 0.1; echo a line; echo there >&2; timeout 10 sh -c 'until [ -e ${go} ]; do sleep 0.05; done'`;
  await writeFile(join(source, "Makefile"), text.replace("all:", recipe));
  const lines: string[] = [];
  await buildRelease(site, {
    artifactsFolder,
    log: (line) => {
      lines.push(line);
      // Without this line while it runs, make would wait and fail.
      if (line.includes("there")) execFileSync("touch", [go]);
    },
  });
  assert.deepEqual(lines.slice(0, 3), ["shop 1.0.0: make", "  half a line", "  there"]);
});

test("what a killed build left is cleared away", async () => {
  const abandoned = join(artifactsFolder, "shop", ".building-999999-aa");
  await mkdir(abandoned, { recursive: true });
  await mkdir(join(artifactsFolder, "shop", "1.0.0"));
  await build();
  assert.deepEqual(await readdir(join(artifactsFolder, "shop")), ["1.0.0"]);
});

test("the right to execute is kept", async () => {
  await chmod(join(source, "api.py"), 0o755);
  const release = await build();
  const entries = await readArchive(release.artifactPath);
  assert.equal(entries.find(({ path }) => path.endsWith("api.py"))?.mode, 0o755);
});

test("two builds at once end in one whole build", async () => {
  const other = join(folder, "other-artifacts");
  await cp(source, join(folder, "copy"), { recursive: true });
  const both = await Promise.all([
    buildRelease(site, { artifactsFolder: other }),
    buildRelease(site, { artifactsFolder: other }).catch((error: Error) => error),
  ]);
  assert.equal(both[0].version, "1.0.0");
  assert.equal((await buildRelease(site, { artifactsFolder: other })).artifactSha256, both[0].artifactSha256);
});
