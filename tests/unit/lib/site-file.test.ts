import assert from "node:assert/strict";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readSiteFile, readSiteFiles, rememberChecked } from "../../../lib/site-file.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const good = {
  name: "Shop",
  server_name: "shop.test",
  release: "./shop",
  contact: { owner: "o@shop.test", technical: "t@shop.test" },
  domain_list: ["shop.test", "www.shop.test"],
};
const python = { name: "api", lang: "python", handler: "api", environment: [{ name: "PORT", value: "8002" }] };
const worker = { name: "mail", lang: "python-worker", handler: "mail", "run-cmd": "rq worker" };

async function write(content: object | string, name = "shop.site.json"): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

test("a good site file is read", async () => {
  const site = await readSiteFile(await write({ ...good, services: [python] }));
  assert.equal(site.slug, "shop");
  assert.equal(site.serverName, "shop.test");
  assert.deepEqual(site.services, [python]);
  assert.deepEqual(site.env, []);
  assert.deepEqual(site.warnings, []);
});

test("workers and chill are parts of a site", async () => {
  const site = await readSiteFile(
    await write({ ...good, services: [{ ...python, name: "page", lang: "chill" }], workers: [worker] }),
  );
  assert.deepEqual(site.warnings, []);
  assert.deepEqual(site.workers, [worker]);
});

test("unknown keys are named and fail nothing", async () => {
  const { warnings } = await readSiteFile(
    await write({ ...good, colour: 1, contact: { ...good.contact, fax: "" }, services: [{ ...python, portt: 1 }] }),
  );
  assert.deepEqual(
    warnings.map((warning) => /"(.*?)" is not a key/.exec(warning)?.[1]),
    ["contact.fax", "colour", "services[0].portt"],
  );
});

const bad: [string, object | string, RegExp][] = [
  ["no JSON", "{", /shop\.site\.json is not valid JSON/],
  ["a missing key", { ...good, release: undefined }, /shop\.site\.json: the file lacks "release"\./],
  [
    "a wrong type",
    { ...good, domain_list: "shop.test" },
    /"domain_list" is "shop\.test"; it should be of type array\./,
  ],
  [
    "a bad domain",
    { ...good, domain_list: ["shop.test", "Shop.Test"] },
    /"domain_list\[1\]" is "Shop\.Test", which does not match/,
  ],
  ["a domain twice", { ...good, domain_list: ["shop.test", "shop.test"] }, /must NOT have duplicate items/],
  [
    "another server name",
    { ...good, server_name: "other.test" },
    /"server_name" is "other\.test", which is not in "domain_list"/,
  ],
  ["a NUL character", { ...good, name: "a\0b" }, /"name" has a NUL character in it/],
  [
    "half a character",
    { ...good, env: [{ name: "A", value: "\ud800" }] },
    /"env\[0\]\.value" has half a character in it/,
  ],
  [
    "an unknown lang",
    { ...good, services: [{ ...python, lang: "php" }] },
    /"services\[0\]\.lang" is "php"; it should be one of immutable, python, chill\./,
  ],
  [
    "too many workers",
    { ...good, services: [{ ...python, workers: 13 }] },
    /"services\[0\]\.workers" is 13: must be <= 12\./,
  ],
  [
    "a service twice",
    { ...good, services: [python, python] },
    /"services\[1\]\.name" is "api", as that of another service/,
  ],
  [
    "a worker with a service's name",
    { ...good, services: [python], workers: [{ ...worker, name: "api" }] },
    /"workers\[0\]\.name" is "api", as that of another service or worker/,
  ],
  [
    "a range of workers without any number in it",
    { ...good, services: [{ ...python, workers_minimum: 3, workers_maximum: 2 }] },
    /"services\[0\]\.workers_minimum" is 3, more than "workers_maximum", which is 2/,
  ],
  [
    "a health check without a path",
    { ...good, services: [{ ...python, healthcheck: { status: 200 } }] },
    /"services\[0\]\.healthcheck" lacks "path"/,
  ],
  [
    "a health check with another status",
    { ...good, services: [{ ...python, healthcheck: { path: "/", status: "good" } }] },
    /"services\[0\]\.healthcheck\.status" is "good"/,
  ],
  [
    "a variable of the loader's",
    { ...good, services: [{ ...python, environment: [{ name: "LD_PRELOAD", value: "/x" }] }] },
    /"services\[0\]\.environment\[0\]\.name" is "LD_PRELOAD"/,
  ],
  [
    "a path in a service's name",
    { ...good, services: [{ ...python, name: "../x" }] },
    /"services\[0\]\.name" is "\.\.\/x"/,
  ],
  ["a path in a handler", { ...good, services: [{ ...python, handler: "a/../../x" }] }, /"services\[0\]\.handler"/],
];
for (const [what, content, problem] of bad) {
  test(`${what} is refused`, async () => {
    await assert.rejects(readSiteFile(await write(content)), { name: "UserError", message: problem });
  });
}

test("a file that was good once is not checked again until it changes", async () => {
  const checkedFolder = join(folder, "checked");
  const site = await readSiteFile(await write(good), { checkedFolder });
  await assert.rejects(readdir(checkedFolder), "nothing is written by reading");
  await rememberChecked([site], checkedFolder);
  assert.deepEqual(await readdir(checkedFolder), [site.digest]);
  assert.deepEqual(await readSiteFile(await write(good), { checkedFolder }), site);
  await assert.rejects(readSiteFile(await write({ ...good, release: 1 }), { checkedFolder }), { name: "UserError" });
});

test("all problems of all files are told at once, and two sites may not share a domain", async () => {
  const sites = join(folder, "sites");
  await mkdir(sites);
  await writeFile(join(sites, "a.site.json"), JSON.stringify(good));
  await writeFile(
    join(sites, "b.site.json"),
    JSON.stringify({ ...good, server_name: "www.shop.test", domain_list: ["www.shop.test"] }),
  );
  await writeFile(join(sites, "c.site.json"), "{}");
  await writeFile(join(sites, "notes.txt"), "");
  await assert.rejects(readSiteFiles(sites), (error: Error) => {
    assert.match(error.message, /c\.site\.json: the file lacks "name"/);
    assert.match(error.message, /c\.site\.json: the file lacks "release"/);
    assert.match(error.message, /The sites "a" and "b" both have the domain www\.shop\.test/);
    return true;
  });
});

test("a missing folder is told with its key", async () => {
  await assert.rejects(readSiteFiles(join(folder, "none")), { name: "UserError", message: /"sitesFolder"/ });
});
