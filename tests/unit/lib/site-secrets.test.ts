import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteFile } from "../../../lib/site-file.ts";
import { readSecretsConfig, siteSecrets, unsetSecrets, wholeFile } from "../../../lib/site-secrets.ts";

const python = { lang: "python" as const, environment: [] };
const shop = {
  slug: "shop",
  services: [
    { name: "api", handler: "api", secrets_config: "api.cfg", ...python },
    { name: "plain", handler: "plain", ...python },
    { name: "assets", lang: "immutable", handler: "assets", environment: [], secrets_config: "assets.cfg" },
  ],
  workers: [
    { name: "mailer", lang: "python-worker", handler: "mailer", "run-cmd": "mail", secrets_config: "mailer.env" },
  ],
} as unknown as SiteFile;
const canary = "canary-77ab";

function filesOf(config: unknown) {
  return siteSecrets([shop], readSecretsConfig(config, assert.fail), 2);
}

test("keys become the file that the site file names; a whole file stays as it is; an older one is its digest", () => {
  const whole = Buffer.from([0, 255, 10]);
  const found = filesOf({ shop: { api: { B: "2", A: 'x"' }, mailer: wholeFile(whole) } }).get("shop") ?? [];
  assert.deepEqual(
    found.map(({ content, ...rest }) => [rest, "base64" in content && Buffer.from(content.base64, "base64")]),
    [
      [{ service: "api", file: "api.cfg" }, Buffer.from('A = "x\\""\nB = "2"\n')],
      [{ service: "mailer", file: "mailer.env" }, whole],
    ],
  );
  assert.deepEqual(filesOf({ shop: { mailer: { older: "ab".repeat(32), key: "2" } } }).get("shop"), [
    { service: "mailer", file: "mailer.env", content: { older: "ab".repeat(32) } },
  ]);
  assert.deepEqual([...filesOf({})], []);
});

const bad: [string, object, RegExp][] = [
  [
    "a site that there is not",
    { shp: { api: { A: canary } } },
    /^chillbox:secrets\.shp: there is no site "shp"\. Did you mean "shop"\? Remove it with: npx chillbox secrets rm shp$/,
  ],
  [
    "a service that there is not",
    { shop: { apj: { A: canary } } },
    /^chillbox:secrets\.shop\.apj: shop\.site\.json has no service "apj"\. Did you mean "api"\? .* secrets rm shop apj$/,
  ],
  [
    "a service without secrets_config",
    { shop: { plain: { A: canary } } },
    /"plain" of shop\.site\.json has no "secrets_/,
  ],
  [
    "a file of the older format for another key",
    { shop: { api: { older: "ab".repeat(32), key: "1" } } },
    /^chillbox:secrets\.shop\.api is a file of the older format that only key 1 .* npx chillbox secrets set shop api <FILE$/,
  ],
  ["an immutable service", { shop: { assets: { A: canary } } }, /"assets" of shop\.site\.json has no "secrets_config"/],
  [
    "a name that Flask would not take",
    { shop: { api: { key: canary } } },
    /^chillbox:secrets\.shop\.api\.key: .*capital/,
  ],
  [
    "a name that no shell takes",
    { shop: { mailer: { "A-B": canary } } },
    /^chillbox:secrets\.shop\.mailer\.A-B: the name/,
  ],
  [
    "a value that the file cannot hold",
    { shop: { mailer: { A: `${canary}\\`, B: canary } } },
    /^chillbox:secrets\.shop\.mailer\.A: a value in a \.env file cannot end with a backslash\. .* \(mailer\.env\)$/,
  ],
];
for (const [what, config, problem] of bad) {
  test(`${what} is refused, and no value is told`, () => {
    assert.throws(
      () => filesOf(config),
      ({ name, message }: Error) => name === "UserError" && problem.test(message) && !message.includes(canary),
    );
  });
}

test("what waits for its secrets is named, and nothing else", () => {
  assert.deepEqual(unsetSecrets([shop], readSecretsConfig({ shop: { api: { A: "" } } }, assert.fail)), [
    "shop mailer waits for its secrets, mailer.env: `npx chillbox secrets` says how to set them.",
  ]);
});

test("all problems of all sites are told at once", () => {
  assert.throws(
    () => filesOf({ gone: { api: { A: "" } }, shop: { none: { A: "" }, mailer: { "-": "" } } }),
    ({ message }: Error) => message.split("\n").length === 3,
  );
});
