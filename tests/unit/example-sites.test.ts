import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { readArchive } from "../../lib/archive.ts";
import { renderSite, unknownSurroundings } from "../../lib/manifest.ts";
import { commandsDigest, commandsOf } from "../../lib/site-commands.ts";
import { readSiteFiles } from "../../lib/site-file.ts";
import { readSchema, resolveSchema, type Schema } from "../../lib/site-problems.ts";
import { type CheckedSite, checkSites } from "../../lib/sites.ts";
import { layOutExamples } from "../sites/lay-out.ts";
import { temporaryFolder } from "./lib/temporary-folder.ts";

const examples = join(import.meta.dirname, "..", "sites");
const folder = await temporaryFolder();
const sitesFolder = join(folder, "sites");
const laidOut = await layOutExamples(sitesFolder, folder);
after(() => laidOut.close());

const surroundings = unknownSurroundings({
  serverName: "box.test",
  techEmail: "admin@box.test",
  manageDns: true,
  acmeServer: "https://acme.test/dir",
  tls: true,
  s3Endpoint: "http://nyc3.spaces.test",
});
const said: string[] = [];
const checked = await check();

async function check(): Promise<ReadonlyMap<string, CheckedSite>> {
  const sites = await readSiteFiles(sitesFolder);
  const found = await checkSites({
    folder: sitesFolder,
    artifactsFolder: join(folder, "artifacts"),
    surroundings,
    allowedCommands: Object.fromEntries(sites.map(({ slug, env }) => [slug, commandsDigest(commandsOf(env))])),
    log: (line) => said.push(line),
  });
  return new Map(found.map((each) => [each.site.slug, each]));
}

function site(slug: string): CheckedSite {
  const found = checked.get(slug);
  assert.ok(found, slug);
  return found;
}

async function filesOf(slug: string): Promise<string[]> {
  const entries = await readArchive(site(slug).release.artifactPath, { topFolder: slug });
  return entries.map(({ path }) => path.slice(slug.length + 1));
}

test("every field of the published schema is used by an example site", async () => {
  const schema = await readSchema();
  const used = new Set<string>();
  for (const name of readdirSync(examples).filter((each) => each.endsWith(".site.json"))) {
    use(JSON.parse(readFileSync(join(examples, name), "utf8")), "");
  }
  assert.deepEqual(
    fields(schema, "").filter((field) => !used.has(field)),
    [],
  );

  function fields(part: Schema, path: string): string[] {
    const { properties, items } = resolveSchema(schema, part);
    const own = Object.entries(properties ?? {}).flatMap(([key, child]) => [
      `${path}.${key}`,
      ...fields(child, `${path}.${key}`),
    ]);
    return items ? fields(items, path) : own;
  }

  function use(value: unknown, path: string): void {
    if (Array.isArray(value)) for (const item of value) use(item, path);
    else if (typeof value === "object" && value !== null) {
      for (const [key, child] of Object.entries(value)) {
        used.add(`${path}.${key}`);
        use(child, `${path}.${key}`);
      }
    }
  }
});

test("each builds, and says what it does not know", () => {
  assert.deepEqual(
    [...checked.values()].map(({ site, release }) => `${site.slug} ${release.version.replace(/\+.*/, "+...")}`),
    [
      "diary 2.1.0",
      "heritage 0.3.1-beta.2+...",
      "jobs 1.0.0",
      "live 1.0.0",
      "notes 1.0.0",
      "pages 1.0.0",
      "vault 1.0.0",
    ],
  );
  const unknown = said
    .filter((line) => /is not a key that chillbox knows/.test(line))
    .map((line) => /"([^"]*)"/.exec(line)?.[1]);
  assert.deepEqual(unknown, [
    "git_repo",
    "contact.phone",
    "workers[0].log",
    "color",
    "services[1].framework",
    "services[1].environment[3].comment",
  ]);
});

test("a release comes by URL once, and the server is only asked whether it changed", async () => {
  assert.deepEqual(laidOut.asked, ["/diary-2.1.0.tar.gz"]);
  said.length = 0;
  await check();
  assert.deepEqual(laidOut.asked, ["/diary-2.1.0.tar.gz", "/diary-2.1.0.tar.gz"]);
  assert.doesNotMatch(said.join("\n"), /make/);
});

test("wheels are carried for both C libraries, and a second build needs no network", async () => {
  const carried = (await filesOf("jobs")).filter((path) => path.startsWith("ticks/dep/hiredis"));
  assert.deepEqual(
    carried.map((path) => /manylinux|musllinux/.exec(path)?.[0]),
    ["manylinux", "musllinux"],
  );
  const broken = join(folder, "no-python");
  mkdirSync(broken);
  writeFileSync(join(broken, "python3"), "#!/bin/sh\nexit 1\n", { mode: 0o755 });
  for (const [slug, service] of [
    ["notes", "api"],
    ["live", "stream"],
    ["jobs", "letters"],
  ] as const) {
    const place = join(sitesFolder, slug);
    execFileSync("./fetch-wheels", [`${service}/requirements.txt`, join(folder, slug, "dep")], {
      cwd: place,
      env: { ...process.env, PATH: `${broken}:${process.env.PATH}` },
    });
    const again = readdirSync(join(folder, slug, "dep")).map((name) => `${service}/dep/${name}`);
    assert.deepEqual(again.sort(), (await filesOf(slug)).filter((path) => path.startsWith(`${service}/dep/`)).sort());
  }
});

test("a command's output is the value, and the immutable files lie under it", () => {
  for (const [slug, variable, file] of [
    ["notes", "ASSETS_HASH", "notes.css"],
    ["heritage", "IMMUTABLE_EXAMPLE_HASH", "page.css"],
  ] as const) {
    const { release } = site(slug);
    const value = release.env.find(({ name }) => name === variable)?.value;
    assert.match(value ?? "", /^[0-9a-f]{32}$/);
    assert.deepEqual(
      release.immutable.map(({ hash, folder }) => [hash, readdirSync(folder)]),
      [[value, [file]]],
    );
  }
});

test("the template that was made in 2023 is rendered for a shared server", () => {
  const { nginx } = renderSite(site("heritage").site, site("heritage").release, surroundings);
  assert.match(nginx, /^map \$http_upgrade \$heritage_connection_upgrade \{/);
  assert.match(nginx, /proxy_set_header Connection \$heritage_connection_upgrade;/);
  assert.match(nginx, /upstream heritage_backend \{\n {2}server localhost:8084;/);
  assert.match(nginx, /proxy_pass http:\/\/heritage_backend\/;/);
  assert.match(nginx, /zone=heritage_search:1m[\s\S]*limit_req zone=heritage_search burst=20;/);
  assert.match(nginx, /server_name heritage\.test www\.heritage\.test;/);
  assert.doesNotMatch(nginx, /listen/);
  assert.match(nginx, /try_files \$uri \$uri\/index\.html =404;/);
  assert.match(nginx, /proxy_cache var_cache_nginx;/);
});
