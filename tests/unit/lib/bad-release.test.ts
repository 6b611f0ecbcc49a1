import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, test } from "node:test";
import { buildRelease, type Release } from "../../../lib/release.ts";
import type { SiteFile } from "../../../lib/site-file.ts";
import { archive, hostileArchives } from "../../hostile-archives.ts";
import { temporaryFolder } from "./temporary-folder.ts";

/**
 * Bad releases that the laptop finds while it builds: the error says what and where, and what was built before stays as it was. The other
 * kinds have their tests at what finds them:
 * - site files: site-file.test.ts, site-check.test.ts; two sites with a port or a domain: manifest.test.ts, site-file.test.ts
 * - make, versions, missing parts, limits, commands: release.test.ts; downloads: download.test.ts; archives entry by entry: archive.test.ts
 * - templates: nginx-template.test.ts; a name that nobody defines, circles: template.test.ts, manifest.test.ts
 * - what the server finds: tests/server-scripts/bad-releases.test.ts
 */
const folder = await temporaryFolder();
const source = join(folder, "app");
const artifactsFolder = join(folder, "artifacts");
const site: SiteFile = {
  slug: "app",
  path: join(folder, "app.site.json"),
  digest: "",
  name: "App",
  serverName: "app.test",
  domains: ["app.test"],
  release: "./app",
  env: [],
  workers: [],
  services: [],
  warnings: [],
};
const good = `
all:
	mkdir -p dist/a/app/nginx/templates dist/i/app
	echo 'server {}' > dist/a/app/nginx/templates/app.nginx.conf.template
	tar -C dist/a -czf dist/artifact.tar.gz app
	tar -C dist/i -czf dist/immutable.tar.gz app
inspect.VERSION:
	@cat VERSION
`;

async function write(version: string, makefile: string): Promise<void> {
  await mkdir(source, { recursive: true });
  await writeFile(join(source, "VERSION"), version);
  await writeFile(join(source, "Makefile"), makefile);
}

const build = (release = site.release): Promise<Release> => buildRelease({ ...site, release }, { artifactsFolder });

/** Everything below a folder: path, and of files their size and the time of their last change. */
async function state(of: string): Promise<string[]> {
  const paths = (await readdir(of, { recursive: true })).sort();
  return Promise.all(
    paths.map(async (path) => {
      const info = await stat(join(of, path));
      return info.isDirectory() ? path : `${path} ${info.size} ${info.mtimeMs}`;
    }),
  );
}

/** The release is refused with these words, and nothing on disk is another. */
async function assertRefused(words: RegExp, release?: string): Promise<void> {
  const earlier = await state(folder);
  await assert.rejects(build(release), { name: "UserError", message: words });
  assert.deepEqual(await state(folder), earlier);
}

before(async () => {
  await write("1.0.0", good);
  await build();
});

for (const { name, lines, laptop } of hostileArchives) {
  test(`${name} is refused, in what make builds and in the release itself`, async () => {
    const file = join(folder, "hostile.tar");
    execFileSync("python3", ["-c", archive(lines), file]);
    await write(
      "2.0.0",
      good.replace("tar -C dist/a -czf dist/artifact.tar.gz app", `cp ${file} dist/artifact.tar.gz`),
    );
    await assertRefused(new RegExp(`dist/artifact\\.tar\\.gz: ${laptop.source}`));
    await assertRefused(new RegExp(`hostile\\.tar: ${laptop.source}`), "./hostile.tar");
  });
}

const bad: [string, string, string, RegExp][] = [
  [
    "a make that fails",
    "all:",
    "all:\n\t@echo no compiler; exit 3",
    /app 2\.0\.0: "make" in \S+\/app failed .*\nno compiler/,
  ],
  [
    "a make without the second archive",
    "dist/immutable.tar.gz app",
    "dist/other.tar.gz app",
    /did not make dist\/immutable\.tar\.gz/,
  ],
  [
    "a missing template",
    "app.nginx.conf.template",
    "web.template",
    /has no app\/nginx\/templates\/app\.nginx\.conf\.template/,
  ],
  [
    "another site's slug",
    "dist/artifact.tar.gz app",
    "dist/artifact.tar.gz --transform=s/^app/shop/ app",
    /dist\/artifact\.tar\.gz: "shop.*" is not in the folder "app"/,
  ],
  [
    "an archive that is cut off",
    "\ttar -C dist/i",
    "\ttruncate -s 100 dist/artifact.tar.gz\n\ttar -C dist/i",
    /dist\/artifact\.tar\.gz is (not a whole tar archive|cut off)/,
  ],
  [
    "a link in the place of an archive",
    "\ttar -C dist/i",
    "\tln -sf /nowhere dist/artifact.tar.gz\n\ttar -C dist/i",
    /did not make dist\/artifact\.tar\.gz/,
  ],
  [
    "a fifo in the place of an archive",
    "\ttar -C dist/i",
    "\trm dist/artifact.tar.gz; mkfifo dist/artifact.tar.gz\n\ttar -C dist/i",
    /did not make dist\/artifact\.tar\.gz/,
  ],
  [
    "a version that is a path",
    "@cat VERSION",
    "@echo ../../2.0.0",
    /the version is "\.\.\/\.\.\/2\.0\.0", which is not one/,
  ],
  [
    "a version that is built, from other files",
    "@cat VERSION",
    "@echo 1.0.0",
    /version 1\.0\.0 is built already, from other files/,
  ],
];
for (const [what, from, to, words] of bad) {
  test(`${what} is refused`, async () => {
    await write("2.0.0", good.replace(from, to));
    await assertRefused(words);
  });
}

test("the last good release is still what it was", async () => {
  await write("1.0.0", good);
  assert.equal((await build()).version, "1.0.0");
});
