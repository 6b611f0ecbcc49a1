import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { noteDeploy, reasonOfUp } from "../../../lib/last-deploy.ts";
import type { SiteFile } from "../../../lib/site-file.ts";
import {
  changedInputs,
  changedSites,
  configurationDigest,
  factsOf,
  type StackFacts,
} from "../../../lib/stack-facts.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();

const site: SiteFile = {
  slug: "shop",
  path: "/sites/shop.site.json",
  digest: "",
  name: "Shop",
  serverName: "shop.test",
  domains: ["www.shop.test", "shop.test"],
  release: "./shop",
  env: [],
  services: [{ name: "api", lang: "python", handler: "api", environment: [], secrets_config: "api.cfg" }],
  workers: [],
  warnings: [],
};
const inputs = { configuration: "1", "server scripts": "2", "Python packages": "3" };
const facts = { inputs, sites: { shop: factsOf(site, [{ name: "api", port: 8002 }]) } } as unknown as StackFacts;

test("what only `up` can do is named", () => {
  const [api] = site.services;
  assert.ok(api);
  const { secrets_config: _, ...open } = api;
  const worker = {
    name: "mail",
    lang: "python-worker",
    handler: "m",
    "run-cmd": "x",
    secrets_config: "m.cfg",
  } as const;
  const table: [what: string, SiteFile, string[]][] = [
    ["nothing", site, []],
    ["another order", { ...site, domains: ["shop.test", "www.shop.test"] }, []],
    ["a variable", { ...site, env: [{ name: "A", value: "b" }] }, []],
    ["a new site", { ...site, slug: "blog" }, ["blog is a new site"]],
    ["a domain more", { ...site, domains: [...site.domains, "a.test"] }, ["shop: domain a.test is new"]],
    ["a domain less", { ...site, domains: ["shop.test"] }, ["shop: domain www.shop.test is gone"]],
    ["another name", { ...site, serverName: "s.test" }, ["shop: domain s.test is new"]],
    ["no secrets", { ...site, services: [open] }, ["shop: secrets of api/api.cfg is gone"]],
    ["more secrets", { ...site, workers: [worker] }, ["shop: secrets of mail/m.cfg is new"]],
  ];
  for (const [what, changed, expected] of table) assert.deepEqual(changedSites(facts, [changed]), expected, what);

  assert.deepEqual(changedInputs(facts, inputs), []);
  for (const name of ["configuration", "server scripts", "Python packages"]) {
    assert.deepEqual(changedInputs(facts, { ...inputs, [name]: "x" }), [`the ${name} of the stack changed`]);
  }
});

test("a stack's configuration is what its values are, but for the commands that may run", async () => {
  await mkdir(join(folder, "project"));
  const project = join(folder, "project");
  const write = (own: string, general = "config:\n  size:\n    default: small\n") =>
    Promise.all([writeFile(join(project, "Pulumi.yaml"), general), writeFile(join(project, "Pulumi.one.yaml"), own)]);
  await write("config:\n  chillbox:region: nyc3\n");
  const digest = await configurationDigest(project, "one");
  const table: [string, boolean, string, string?][] = [
    ["a comment", true, "# Hello\nconfig:\n  chillbox:region: nyc3\n"],
    ["an allowed command", true, "config:\n  chillbox:region: nyc3\n  chillbox:allowedCommands:\n    shop: abc\n"],
    ["another value", false, "config:\n  chillbox:region: ams3\n"],
    ["a secret", false, "config:\n  chillbox:region: nyc3\n  chillbox:apiToken:\n    secure: v1:abc\n"],
    ["another default", false, "config:\n  chillbox:region: nyc3\n", "config:\n  size:\n    default: big\n"],
    ["nothing", false, ""],
  ];
  for (const [what, same, own, general] of table) {
    await write(own, general);
    assert.equal((await configurationDigest(project, "one")) === digest, same, what);
  }
});

test("each deploy gives the next `up` another reason, of its own site and stack", async () => {
  const reason = () => reasonOfUp(folder, "local", "shop");
  assert.equal(await reason(), "pulumi up");
  await noteDeploy(folder, "local", "shop", new Date("2026-01-02T03:04:05.678Z"));
  assert.equal(await reason(), "pulumi up, after the deploy of 2026-01-02T03:04:05.678Z");
  await noteDeploy(folder, "local", "shop", new Date("2026-01-02T03:04:05.679Z"));
  assert.match(await reason(), /05\.679Z$/);
  assert.equal(await reasonOfUp(folder, "other", "shop"), "pulumi up");
  assert.equal(await reasonOfUp(folder, "local", "blog"), "pulumi up");
});
