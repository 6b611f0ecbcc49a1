import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { archive } from "../hostile-archives.ts";
import { type BadRelease, badReleases } from "./bad-releases.ts";
import { TestServer } from "./server.ts";
import { makeTree, siteParts, type TestSite } from "./test-site.ts";
import { Visitor } from "./visitors.ts";

/**
 * Bad releases that the server finds. While each is installed, visitors keep asking the site and a neighbour; afterwards all is as it was.
 * Those that the laptop finds before anything is sent: tests/unit/lib/bad-release.test.ts says where each is tested.
 */
const server = new TestServer({ memoryMiB: 512 });
const folder = mkdtempSync(join(tmpdir(), "chillbox-bad-"));
const app: TestSite = { slug: "app", port: 8101 };
const neighbour: TestSite = { slug: "next", port: 8102 };
const visitors: { readonly site: TestSite; readonly visitor: Visitor }[] = [];
let version = 0;

before(
  async () => {
    await server.setUp();
    for (const site of [app, neighbour]) await installGood(site);
    for (const site of [app, neighbour]) visitors.push({ site, visitor: new Visitor(server, site.slug) });
  },
  { timeout: 120_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const bad of badReleases) {
  test(`${bad.name}: the old version answers, and the error says what and where`, { timeout: 90_000 }, async () => {
    const earlier = await state();
    const manifest = await badManifest(bad);
    await bad.before?.(root);
    const said = await server.ssh("doas chillbox-site install", manifest);
    await bad.after?.(root);
    for (const { site, visitor } of visitors) {
      const allowed = site === app && bad.isSeen ? ["good", "bad"] : ["good"];
      const others = (await visitor.answers()).filter((answer) => !allowed.includes(answer));
      assert.deepEqual(others, [], `what visitors of ${site.slug} got`);
    }
    assert.equal(said.code, 1, `${said.out}${said.errors}`);
    for (const words of bad.words) assert.match(said.errors, words);
    assert.doesNotMatch(
      said.errors,
      /not found$|Permission denied$|line \d+: /m,
      "an error of a script, not of the release",
    );
    const seen = (lines: string[]) => (bad.isSeen ? withoutProcesses(lines) : lines);
    // A process that was killed takes a moment to be gone.
    let later = await state();
    for (let waited = 0; waited < 10 && seen(later).length > seen(earlier).length; waited += 1) later = await state();
    assert.deepEqual(seen(later), seen(earlier));
  });
}

test("visitors were there all the time, and a good release still takes its place", { timeout: 60_000 }, async () => {
  await installGood(app, "better");
  for (const { site, visitor } of visitors) {
    const answers = await visitor.answers();
    assert.deepEqual(answers, site === app ? ["good", "better"] : ["good"]);
    const count = await visitor.leave();
    assert.ok(count > 20 * badReleases.length, `${site.slug} was asked ${count} times`);
  }
});

async function installGood(site: TestSite, word = "good"): Promise<void> {
  version += 1;
  const changes = { ...siteParts(site, word), version: `1.0.${version}`, watchSeconds: 0 };
  const manifest = await server.manifest(site.slug, makeTree(folder, site.slug, word), changes);
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
}

/** What the install is given: a good release, changed in the one way that makes it bad. */
async function badManifest(bad: BadRelease): Promise<unknown> {
  version += 1;
  const tree = makeTree(folder, app.slug, "bad", bad.application);
  bad.tree?.(tree);
  const good = siteParts(app, "bad");
  const [service = {}] = good.services;
  const services = [{ ...service, ...bad.service }, ...(bad.also ? [bad.also] : [])];
  const nginx = bad.nginx ?? good.nginx;
  const changes = { ...good, services, nginx, version: `1.0.${version}`, watchSeconds: 3, ...bad.manifest };
  let manifest = await server.manifest(app.slug, tree, changes);
  if (bad.archive) {
    const file = join(folder, "bad.tar");
    const made = await server.run(["python3", "-c", archive(bad.archive), file]);
    assert.equal(made.code, 0, made.errors);
    manifest = server.offer(manifest, file);
  }
  return bad.send ? bad.send(manifest) : manifest;
}

/**
 * All that an install could leave behind or disturb: lines. Files of the site but for its data, services, held sockets, processes by
 * number, rules of the firewall, what nginx runs with.
 */
async function state(): Promise<string[]> {
  const lines = await root(`
    cd /var/lib/chillbox/sites
    for path in */current; do echo "$path $(readlink $path)"; done
    for path in app app/releases app/venvs /run/chillbox /run/chillbox/nginx /run/chillbox/log; do echo "$path: $(ls -A $path | tr '\\n' ' ')"; done
    for path in /srv/app /usr/local/src/app /etc/nginx/conf.d /tmp; do echo "$path: $(ls -A $path | tr '\\n' ' ')"; done
    ls /run/chillbox/services /run/chillbox/scan
    s6-fdholder-list /run/chillbox/fdholder/socket
    nft list table inet chillbox_sites | sha256sum
    curl -s -o /dev/null -D - -H 'Host: nobody.invalid' http://127.0.0.1/ | grep -i generation
    ps -o pid,user,args | sed 1d
  `);
  const ours = /^ *\d+ (app|next) |nginx: master|s6-(supervise|fdholderd|svscan)|chillbox-(site|venv|unpack|listen)/;
  return lines
    .split("\n")
    .map((line) => line.trimEnd())
    .filter((line) => !/^ *\d+ /.test(line) || (ours.test(line) && !line.includes(" -c ")));
}

/** After a release that was in use for a moment the old one's processes are new ones, but the neighbour's are not. */
function withoutProcesses(lines: readonly string[]): string[] {
  return lines.filter((line) => !/^ *\d+ (app |.*s6-supervise app\.)/.test(line));
}

async function root(command: string): Promise<string> {
  const said = await server.ssh(`doas sh -c '${command.replaceAll("'", "'\\''")}'`);
  assert.equal(said.code, 0, `${command}: ${said.errors}`);
  return said.out.trim();
}
