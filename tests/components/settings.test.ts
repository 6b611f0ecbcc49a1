import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { before, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { readSettings } from "../../settings.ts";
import { resolved, useMocks } from "./mocks.ts";

before(useMocks);

const project = parse(await readFile(new URL("../../Pulumi.yaml", import.meta.url), "utf8"));
const declared = project.config as Record<string, { default?: unknown; description?: string; secret?: boolean }>;
const own = {
  apiToken: "dop_v1_x",
  spacesAccessKeyId: "A",
  spacesSecretAccessKey: "S",
  serverName: "box.example.com",
  techEmail: "me@example.com",
};

/** Settings as they come out of Pulumi.yaml's defaults and these values. */
function settingsWith(values: Record<string, unknown> = {}, plainSecrets = false) {
  const all: Record<string, string> = {};
  const given = {
    ...Object.fromEntries(Object.entries(declared).map(([key, entry]) => [key, entry.default])),
    ...own,
    ...values,
  };
  for (const [key, value] of Object.entries(given)) {
    if (value === undefined) continue;
    all[`chillbox:${key}`] = typeof value === "object" ? JSON.stringify(value) : String(value);
  }
  pulumi.runtime.setAllConfig(all, plainSecrets ? [] : ["chillbox:secrets"]);
  return readSettings();
}

test("defaults and five own values make whole settings", async () => {
  const settings = settingsWith();
  assert.equal(settings.resourceName, "chillbox-test");
  assert.equal(settings.server.hostName, "chillbox-test-1");
  assert.equal(settings.spaces.endpoint, "https://nyc3.digitaloceanspaces.com");
  assert.equal(settings.spaces.endpointTemplate, "https://{{.Region}}.digitaloceanspaces.com");
  assert.deepEqual(settings.server.sshAllowedAddresses, ["0.0.0.0/0", "::/0"]);
  assert.equal(settings.protect, true);
  assert.equal(settings.forceDestroyBuckets, false);
  assert.deepEqual(settings.allowedCommands, {});
  assert.deepEqual(settings.archiveLimits, { bytes: 2_000_000_000, entries: 100_000, ratio: 200 });
  assert.ok(await pulumi.isSecret(settings.api.token));
  assert.equal(await resolved(settings.api.token), "dop_v1_x");
  assert.ok(Object.isFrozen(settings) && Object.isFrozen(settings.server.sshAllowedAddresses));
});

test("every declared key says what it is, and secrets have no default", () => {
  for (const [key, entry] of Object.entries(declared)) {
    assert.ok(entry.description, key);
    if (entry.secret) assert.equal(entry.default, undefined, key);
  }
});

const bad: [string, Record<string, unknown>, RegExp][] = [
  [
    "an unknown key",
    { sererName: "x" },
    /^chillbox:sererName is not a key that chillbox knows\. Did you mean "serverName"\? Remove it with: pulumi config rm sererName$/,
  ],
  [
    "another answer to findings",
    { analysis: { secrets: "stop" } },
    /^chillbox:analysis\.secrets is "stop"; it should be one of warn, fail, off\.$/,
  ],
  ["a far key", { dropletCount: "2" }, /Pulumi\.yaml lists the keys there are/],
  [
    "a region without Spaces",
    { region: "nyc1" },
    /^chillbox:region is "nyc1"; it should be one of ams3, .*Set it with: pulumi config set region \.\.\.$/,
  ],
  [
    "a URL with a path",
    { apiEndpoint: "https://api.digitalocean.com/v2" },
    /^chillbox:apiEndpoint is .*a URL without a path/,
  ],
  ["no URL", { spacesEndpoint: "nyc3.spaces.test" }, /^chillbox:spacesEndpoint is/],
  [
    "a generation of 0",
    { serverGeneration: 0 },
    /^chillbox:serverGeneration is "0"; it should be a whole number from 1 to 9999/,
  ],
  ["a truth value in words", { protect: "yes" }, /^chillbox:protect is "yes"; it should be true or false/],
  [
    "a bad address",
    { sshAllowedAddresses: ["10.0.0.0/8", "10.0.0.0/33"] },
    /^chillbox:sshAllowedAddresses has "10\.0\.0\.0\/33"/,
  ],
  ["no list", { dnsZones: "example.com" }, /^chillbox:dnsZones is not a list/],
  ["no map", { allowedCommands: ["x"] }, /^chillbox:allowedCommands is \["x"\]; it should be a map of digests/],
  ["no digest", { allowedCommands: { shop: "yes" } }, /^chillbox:allowedCommands .* pulumi config rm allowedCommands$/],
  ["more than the server takes", { archiveEntries: 200_001 }, /^chillbox:archiveEntries .* from 1 to 200000/],
  ["a way out to no port", { outbound: ["tcp/0"] }, /^chillbox:outbound has "tcp\/0"; .*such as "tcp\/587"/],
  ["a way out by IPv6", { outbound: ["tcp/25 2001:db8::1"] }, /^chillbox:outbound has .*IPv4 alone/],
  ["too little memory", { serviceMemory: 1 }, /^chillbox:serviceMemory is "1"; it should be a whole number from 32/],
  ["no key", { adminPublicKeys: ["AAAA"] }, /^chillbox:adminPublicKeys has "AAAA"/],
  ["a missing name", { serverName: undefined }, /^chillbox:serverName is missing; it should be a domain in lower case/],
  [
    "a missing token",
    { apiToken: undefined },
    /^chillbox:apiToken is missing; it should be the secret\. Set it with: pulumi config set --secret apiToken$/,
  ],
];
for (const [what, values, problem] of bad) {
  test(`${what} is refused`, () => {
    assert.throws(() => settingsWith(values), { name: "UserError", message: problem });
  });
}

const canary = "canary-5f0e";
const badSecrets: [string, unknown, RegExp][] = [
  ["no map of sites", canary, /^chillbox:secrets is not a map\. .*pulumi config rm --path 'secrets'$/],
  ["no map of services", { shop: canary }, /^chillbox:secrets\.shop is not a map/],
  ["a text that is no whole file", { shop: { api: canary } }, /^chillbox:secrets\.shop\.api is a text and not a whole/],
  ["a whole file that is empty", { shop: { api: "base64:" } }, /^chillbox:secrets\.shop\.api is a text/],
  ["a whole file that is no base64", { shop: { api: `base64:${canary}` } }, /^chillbox:secrets\.shop\.api is a text/],
  ["a list of services", { shop: { api: [canary] } }, /^chillbox:secrets\.shop\.api is not a map/],
  ["a value that is no text", { shop: { api: { A: canary, B: 5 } } }, /^chillbox:secrets\.shop\.api\.B is not a text/],
  ["a key with more keys", { shop: { api: { A: { B: canary } } } }, /^chillbox:secrets\.shop\.api\.A is not a text/],
  ["an older file without its key", { shop: { api: { older: "ab".repeat(32) } } }, /older stands for a file/],
  [
    "an older file without its digest",
    { shop: { api: { older: canary, key: "1" } } },
    /^chillbox:secrets\.shop\.api\.older stands/,
  ],
];
for (const [what, secrets, problem] of badSecrets) {
  test(`secrets: ${what} is refused, and no value is told`, () => {
    assert.throws(
      () => settingsWith({ secrets }),
      ({ name, message }: Error) => name === "UserError" && problem.test(message) && !message.includes(canary),
    );
  });
}

test("secrets of each kind are read, and what was removed is not there", () => {
  const secrets = {
    shop: { api: { KEY: "a b" }, mailer: "base64:/+8=", old: { older: "ab".repeat(32), key: "1" }, gone: {} },
    left: {},
    none: { api: {} },
  };
  assert.deepEqual(settingsWith({ secrets }).secrets, {
    shop: { api: { keys: { KEY: "a b" } }, mailer: { base64: "/+8=" }, old: { older: "ab".repeat(32), key: 1 } },
  });
});

test("secrets that lie in the stack's file as they are, are refused", () => {
  assert.throws(() => settingsWith({ secrets: { shop: { api: { A: canary } } } }, true), {
    message: /^chillbox:secrets is not encrypted\. .* pulumi config set --secret --path$/,
  });
  assert.deepEqual(settingsWith({ secrets: {} }, true).secrets, {});
});

test("more configuration than Pulumi can hand over is refused, with the key that is too large", () => {
  const secrets = { shop: { api: `base64:${Buffer.alloc(78_000, canary).toString("base64")}` } };
  assert.throws(() => settingsWith({ secrets }), {
    message: /^The stack's configuration is 103 KiB .*\nThe largest key is chillbox:secrets\./,
  });
});

test("all problems are told at once", () => {
  assert.throws(
    () => settingsWith({ region: "x", size: "X L" }),
    (error: Error) => error.message.split("\n").length === 2,
  );
});

test("ways out are read, and shares of the server are 0", () => {
  const { server } = settingsWith({ outbound: ["tcp/587", "udp/5000-5010 198.51.100.0/24"], serviceProcesses: 20 });
  assert.deepEqual(server.outbound, [
    { protocol: "tcp", ports: "587" },
    { protocol: "udp", ports: "5000-5010", address: "198.51.100.0/24" },
  ]);
  assert.deepEqual(server.limits, { memoryMiB: 0, processes: 20, diskMiB: 0 });
});

test("the window for updates is a part of the day of an hour or more", () => {
  const { server } = settingsWith({ updateWindow: "23:30-00:30", automaticReboot: false });
  assert.deepEqual(server.updates, { automatic: true, window: "23:30-00:30", reboot: false });
  for (const updateWindow of ["3:00-5:00", "03:00-03:30", "24:00-02:00", "03:00"]) {
    assert.throws(() => settingsWith({ updateWindow }), /updateWindow is .*an hour or more/);
  }
});
