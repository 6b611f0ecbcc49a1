import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { numbers } from "./numbers.ts";
import { TestServer } from "./server.ts";
import { makeTree, siteParts, type TestSite } from "./test-site.ts";
import { Visitor } from "./visitors.ts";

/**
 * Installs, rollbacks and removals that are killed with SIGKILL: where each of their steps begins, and at times that come from a seed. After
 * each, page, `current`, nginx and the running process are of one release, and running the command again ends what it began.
 *
 * CHILLBOX_KILLS: kills at chosen times, default 20; CHILLBOX_SEED: the seed, default 1 (both are printed).
 * CHILLBOX_REPORT: a file to which what was measured is written.
 */
const kills = Number(process.env.CHILLBOX_KILLS ?? 20);
const seed = Number(process.env.CHILLBOX_SEED ?? 1);
/** All of everything, as `npm run test:soak` asks for. */
const isLong = kills >= 200;
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-kills-"));
const app: TestSite = { slug: "app", port: 8101 };
const killedIn = new Map<string, number>();
let version = 0;
let visitor: Visitor;

/** What sweep.sh prints. */
interface Swept {
  readonly killed: boolean;
  readonly step: string;
  readonly first: string;
  readonly result: string | null;
  readonly errors: string;
  readonly second: string;
}

before(
  async () => {
    await server.setUp();
    writeFileSync(server.host.path("sweep"), readFileSync(join(import.meta.dirname, "sweep.sh")));
    const said = await server.ssh("doas sh -c 'cat >/run/sweep'", server.host.text("sweep"));
    assert.equal(said.code, 0, said.errors);
  },
  { timeout: 120_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

test("a first install that is killed where a step begins leaves nothing or all of it", {
  timeout: 180_000,
}, async () => {
  const steps = await stepsOf("install", (await nextRelease(true)).manifest);
  await remove();
  // Its steps are those of every install; a third of them shows what is special about the first.
  const some = steps.filter((_, index) => isLong || index % 3 === seed % 3);
  for (const step of some) {
    const { manifest, word } = await nextRelease(false);
    const swept = await sweep("install", manifest, `step '${step}' all`);
    check(swept, isSwitched(steps, step) ? [word] : ["none"], word, /^(installed|unchanged)$/);
    await remove();
  }
});

test("an install that is killed where a step begins", { timeout: 300_000 }, async () => {
  await install((await nextRelease(true)).manifest);
  visitor = new Visitor(server, app.slug);
  const steps = await stepsOf("install", (await nextRelease(true)).manifest);
  console.log(`# the install lists: ${steps.join(", ")}`);
  assert.ok(steps.length > 10);
  for (const step of steps) {
    const earlier = current();
    const { manifest, word } = await nextRelease(step.startsWith("install the packages"));
    const swept = await sweep("install", manifest, `step '${step}' all`);
    assert.ok(swept.killed, `it did not stop at ${step}`);
    check(swept, isSwitched(steps, step) ? [word] : [earlier], word, /^(installed|unchanged)$/);
  }
});

test(`an install that is killed at ${kills} times`, { timeout: 60_000 + kills * 15_000 }, async () => {
  const random = numbers(seed);
  // Every other release has packages to install, which takes most of an install's time.
  const durations = [await duration(false), await duration(true)];
  console.log(`# seed ${seed}; an install takes ${durations.join(" ms, with packages ")} ms`);
  let landed = 0;
  let tries = 0;
  // One that comes when the install has ended already does not count; an install's time differs from run to run.
  for (; landed < kills && tries < 2 * kills; tries += 1) {
    const earlier = current();
    const hasPackages = tries % 2 === 1;
    const { manifest, word } = await nextRelease(hasPackages);
    const seconds = ((random() * (durations[Number(hasPackages)] ?? 0)) / 1000).toFixed(3);
    const whom = random() < 0.5 ? "all" : "one";
    const swept = await sweep("install", manifest, `after ${seconds} ${whom}`);
    check(swept, [earlier, word], word, /^(installed|unchanged)$/);
    if (swept.killed) landed += 1;
  }
  console.log(`# ${landed} of ${tries} came before the install had ended`);
  assert.equal(landed, kills);
});

test("a rollback that is killed where a step begins", { timeout: 180_000 }, async () => {
  const steps = await stepsOf("rollback", rollback(versionBefore()));
  assert.ok(steps.length > 5);
  let [from, to] = [versionBefore(), current()];
  for (const step of steps) {
    const swept = await sweep("rollback", rollback(to), `step '${step}' all`);
    assert.ok(swept.killed, `it did not stop at ${step}`);
    check(swept, isSwitched(steps, step) ? [to] : [from], to, /^(rolled back|unchanged)$/);
    [from, to] = [to, from];
  }
});

test("visitors got an answer of the old or the new release all the time", async () => {
  const answers = await visitor.answers();
  const others = answers.filter((answer) => !/^1\.0\.\d+$/.test(answer));
  assert.deepEqual(others, []);
  const count = await visitor.leave();
  assert.ok(count > 500, `${count} answers`);
});

test("a removal that is killed where a step begins", { timeout: 180_000 }, async () => {
  const input = { slug: app.slug, by: "test", reason: "test" };
  const steps = await stepsOf("remove", input);
  for (const step of steps) {
    const { manifest, word } = await nextRelease(false);
    await install(manifest);
    const swept = await sweep("remove", input, `step '${step}' all`);
    assert.ok(swept.killed, `it did not stop at ${step}`);
    check(swept, [word, "none"], "none", /^(removed|unchanged)$/);
  }
});

test("kills in each step", () => {
  const lines = [...killedIn].map(([step, count]) => `${count} in ${step}`);
  for (const line of lines) console.log(`# ${line}`);
  const report = process.env.CHILLBOX_REPORT;
  if (report !== undefined)
    appendFileSync(report, `seed ${seed}, ${kills} kills at chosen times\n${lines.join("\n")}\n`);
});

/** Judges a kill: what the site was after it, and after the command was run again. */
function check(swept: Swept, first: readonly string[], second: string, result: RegExp): void {
  const told = `killed in "${swept.step}": ${JSON.stringify(swept, undefined, 1)}`;
  if (swept.killed) killedIn.set(swept.step, (killedIn.get(swept.step) ?? 0) + 1);
  assert.ok(first.includes(swept.first), told);
  assert.match(String(swept.result), result, told);
  assert.equal(swept.second, second, told);
}

async function sweep(command: string, input: unknown, kill: string): Promise<Swept> {
  const said = await server.ssh(`doas sh /run/sweep ${app.slug} ${command} ${kill}`, input);
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out) as Swept;
}

/** Another release of the site. Its service says its version, which comes from its environment: so its packages need not change. */
async function nextRelease(hasPackages: boolean): Promise<{ manifest: unknown; word: string }> {
  version += 1;
  const word = current();
  if (hasPackages) packages = version;
  const parts = siteParts(app, word);
  const services = parts.services.map((service) => ({ ...service, environment: { WORD: word } }));
  const tree = makeTree(folder, app.slug, word, application(packages));
  // Redis goes on running; cron cannot run beside its predecessor.
  const also = { redis: {}, crontab: ["0 0 1 1 * true"], crontabEnvironment: {} };
  const manifest = await server.manifest(app.slug, tree, {
    ...parts,
    ...also,
    services,
    version: word,
    watchSeconds: 0,
  });
  return { manifest, word };
}

let packages = 0;

function application(number: number): string {
  return `# packages ${number}
import os
def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [os.environ["WORD"].encode() + b"\\n"]
    return application
`;
}

const current = () => `1.0.${version}`;
/** Whether `current` names the new release when this step begins. */
const isSwitched = (steps: readonly string[], step: string) => steps.indexOf(step) > steps.indexOf("switch");
const versionBefore = () => `1.0.${version - 1}`;
const rollback = (release: string) => ({ slug: app.slug, release, by: "test", reason: "test" });

async function install(manifest: unknown): Promise<string> {
  const said = await server.ssh("doas chillbox-site install", manifest);
  assert.equal(said.code, 0, said.errors);
  return said.errors;
}

async function remove(): Promise<void> {
  const said = await server.ssh("doas chillbox-site remove", { slug: app.slug });
  assert.equal(said.code, 0, said.errors);
}

/** Runs a command to its end. @returns the steps that it lists, each once */
async function stepsOf(command: string, input: unknown): Promise<string[]> {
  const said = await server.ssh(`doas chillbox-site ${command}`, input);
  assert.equal(said.code, 0, said.errors);
  return [...new Set([...said.errors.matchAll(/: step: (.*)/g)].map(([, name = ""]) => name))];
}

/** Milliseconds that an install takes. */
async function duration(hasPackages: boolean): Promise<number> {
  const { manifest } = await nextRelease(hasPackages);
  const started = performance.now();
  await install(manifest);
  return Math.round(performance.now() - started);
}
