import assert from "node:assert/strict";
import { test } from "node:test";
import { commandPlugin } from "../../../toolchain/stand-ins/command/plugin.ts";
import { digitaloceanPlugin } from "../../../toolchain/stand-ins/digitalocean/plugin.ts";
import { type AutoNaming, checkInputs, defaultsKey } from "../../../toolchain/stand-ins/plugin/check.ts";
import { hasSecret, type Properties, reveal, secret, unknown } from "../../../toolchain/stand-ins/plugin/wire.ts";

const plugins = [digitaloceanPlugin(), commandPlugin];

/** `droplet` -> `digitalocean:index/droplet:Droplet`; a whole token stays as it is. */
function token(type: string): string {
  return type.includes(":") ? type : `digitalocean:index/${type}:${type[0]?.toUpperCase()}${type.slice(1)}`;
}

function check(type: string, news: Properties, olds: Properties = {}, autoNaming?: AutoNaming) {
  const plugin = plugins.find(({ schema }) => token(type).startsWith(`${schema.package}:`));
  assert.ok(plugin);
  const kind = plugin.resources[token(type)];
  assert.ok(kind, `no such type: ${type}`);
  const { schema } = plugin;
  const result = checkInputs({ schema, type: token(type), facts: kind.facts, name: "thing", olds, news, autoNaming });
  const extra = result.failures.length === 0 ? (kind.check?.(reveal(result.inputs) as Properties) ?? []) : [];
  return { inputs: result.inputs, failures: [...result.failures, ...extra] };
}

const address = ["0.0.0.0/0"];

/** Inputs that every type takes, and nothing more than it needs. */
const least: Record<string, Properties> = {
  customImage: { regions: ["nyc3"], url: "http://example.test/a.img" },
  dnsRecord: { domain: "example.test", type: "A", value: "192.0.2.1" },
  domain: { name: "example.test" },
  droplet: { image: "1", size: "s-1vcpu-512mb-10gb" },
  firewall: { inboundRules: [{ protocol: "tcp", portRange: "22", sourceAddresses: address }] },
  project: {},
  projectResources: { project: "p", resources: [] },
  reservedIp: { region: "nyc3" },
  reservedIpAssignment: { dropletId: 1, ipAddress: "192.0.2.1" },
  spacesBucket: {},
  spacesBucketObject: { bucket: "b", key: "k", region: "nyc3" },
  spacesKey: {},
  sshKey: { publicKey: "ssh-ed25519 AAAA" },
  tag: {},
  vpc: { region: "nyc3" },
  "command:local:Command": {},
  "command:remote:Command": { connection: { host: "192.0.2.1" } },
};

for (const [type, inputs] of Object.entries(least)) {
  test(`${type}: takes the least that it needs, and misses each part of it by name`, () => {
    assert.deepEqual(check(type, inputs).failures, []);
    const spec = plugins.map(({ schema }) => schema.resources[token(type)]).find(Boolean);
    assert.deepEqual(
      Object.keys(spec?.inputProperties ?? {}).filter((key) => spec?.requiredInputs.includes(key)),
      (spec?.requiredInputs ?? []).toSorted(),
    );
    for (const key of spec?.requiredInputs ?? []) {
      const { [key]: _, ...rest } = inputs;
      const { failures } = check(type, rest);
      assert.equal(failures[0]?.property, key);
      assert.match(failures[0]?.reason ?? "", new RegExp(`missing required property '${key}'`));
    }
  });

  test(`${type}: refuses a property that it does not know`, () => {
    const { failures } = check(type, { ...inputs, colour: "blue" });
    assert.equal(failures.length, 1);
    assert.match(failures[0]?.reason ?? "", /unknown property 'colour'; known are /);
  });
}

const refused: [string, string, Properties, string, RegExp][] = [
  ["a slip in capitals", "droplet", { userdata: "x" }, "userdata", /did you mean 'userData'\?/],
  ["text for a list", "droplet", { sshKeys: "one" }, "sshKeys", /must be a list, but is a string/],
  ["a list for text", "droplet", { size: ["s"] }, "size", /must be text, but is a list/],
  ["a word for a flag", "droplet", { backups: "perhaps" }, "backups", /must be true or false/],
  ["a word for a number", "reservedIpAssignment", { dropletId: "ten" }, "dropletId", /must be a whole number/],
  ["half a number", "dnsRecord", { ttl: 1.5 }, "ttl", /must be a whole number/],
  ["an item of the wrong type", "droplet", { tags: ["a", {}] }, "tags[1]", /must be text, but is a object/],
  [
    "an unknown field inside",
    "spacesKey",
    { grants: [{ bucket: "b", permission: "read", x: 1 }] },
    "grants[0].x",
    /unk/,
  ],
  ["a missing field inside", "spacesKey", { grants: [{ bucket: "b" }] }, "grants[0].permission", /missing/],
  ["a permission", "spacesKey", { grants: [{ bucket: "b", permission: "write" }] }, "grants", /none of read, readwr/],
  ["a record type", "dnsRecord", { type: "SPF" }, "type", /'SPF' is none of A, AAAA/],
  ["a canned ACL", "spacesBucket", { acl: "public-read-write" }, "acl", /none of private, public-read/],
  ["a region without Spaces", "spacesBucket", { region: "nyc1" }, "region", /'nyc1' is none of ams3/],
  ["an environment", "project", { environment: "Test" }, "environment", /none of Development/],
  ["a distribution", "customImage", { distribution: "Alpine" }, "distribution", /'Alpine' is none of/],
  [
    "a protocol",
    "firewall",
    { inboundRules: [{ protocol: "sctp", portRange: "1" }] },
    "inboundRules",
    /'sctp' is none/,
  ],
  ["no ports", "firewall", { inboundRules: [{ protocol: "tcp" }] }, "inboundRules[0].portRange", /needs 'portRange'/],
  ["no rule at all", "firewall", { inboundRules: undefined }, "inboundRules", /at least one rule/],
  ["an alias without its dot", "dnsRecord", { type: "CNAME", value: "www.example.test" }, "value", /a dot at the end/],
  ["a mail record without priority", "dnsRecord", { type: "MX", value: "a.test." }, "priority", /needs 'priority'/],
  ["two bodies", "spacesBucketObject", { content: "a", source: "b" }, "content", /give one of source, content/],
  ["a way of logging", "command:local:Command", { logging: "all" }, "logging", /'all' is none of stdout/],
  ["a connection without host", "command:remote:Command", { connection: {} }, "connection.host", /missing/],
];

for (const [what, type, change, property, reason] of refused) {
  test(`${type}: refuses ${what}`, () => {
    const { failures } = check(type, { ...least[type], ...change });
    assert.equal(failures[0]?.property, property);
    assert.match(failures[0]?.reason ?? "", reason);
  });
}

test("a refusal does not show the value, which may be secret", () => {
  const { failures } = check("droplet", { ...least.droplet, backups: secret("hunter2") });
  assert.equal(failures.length, 1);
  assert.doesNotMatch(failures[0]?.reason ?? "", /hunter2/);
});

test("numbers given as text and text given as numbers are converted", () => {
  const assignment = check("reservedIpAssignment", { dropletId: "12", ipAddress: "192.0.2.1" });
  assert.equal(assignment.inputs.dropletId, 12);
  assert.equal(check("droplet", { image: 12, size: "s" }).inputs.image, "12");
  assert.equal(check("droplet", { image: "1", size: "s", ipv6: "true" }).inputs.ipv6, true);
});

test("defaults are filled in and remembered", () => {
  const { inputs } = check("droplet", { ...least.droplet, name: "web", backups: true });
  assert.deepEqual(inputs[defaultsKey], ["gracefulShutdown", "monitoring", "resizeDisk"]);
  assert.deepEqual([inputs.backups, inputs.monitoring, inputs.resizeDisk], [true, false, true]);
});

test("a connection gets its defaults inside its secret", () => {
  const connection = secret({ host: "192.0.2.1", privateKey: secret("key") });
  const { inputs, failures } = check("command:remote:Command", { connection });
  assert.deepEqual(failures, []);
  assert.ok(hasSecret(inputs.connection));
  assert.deepEqual(reveal(inputs.connection), {
    host: "192.0.2.1",
    privateKey: "key",
    port: 22,
    user: "root",
    dialErrorLimit: 10,
    perDialTimeout: 15,
  });
});

test("what is not known yet passes, wherever it is", () => {
  const inputs = { image: unknown, size: "s", tags: [unknown], ipv6: unknown, userData: secret(unknown) };
  assert.deepEqual(check("droplet", inputs).failures, []);
  assert.deepEqual(check("firewall", { inboundRules: unknown }).failures, []);
  assert.deepEqual(check("dnsRecord", { domain: unknown, type: unknown, value: unknown }).failures, []);
});

test("a name is made up of the resource's name and seven hex digits, and lasts", () => {
  const first = check("sshKey", { publicKey: "k" }).inputs;
  assert.match(String(first.name), /^thing-[0-9a-f]{7}$/);
  const second = check("sshKey", { publicKey: "other" }, first).inputs;
  assert.equal(second.name, first.name);
  const chosen = check("sshKey", { publicKey: "k", name: "mine" }, first).inputs;
  assert.deepEqual([chosen.name, chosen[defaultsKey]], ["mine", undefined]);
  const again = check("sshKey", { publicKey: "k" }, chosen).inputs;
  assert.match(String(again.name), /^thing-[0-9a-f]{7}$/);
});

test("the stack's own way of naming is followed", () => {
  const named = (mode: AutoNaming["mode"]) => check("tag", {}, {}, { mode, proposedName: "thing-local" });
  assert.equal(named("enforce").inputs.name, "thing-local");
  assert.equal(named("propose").inputs.name, "thing-local");
  assert.match(named("disable").failures[0]?.reason ?? "", /made-up names are switched off/);
});

test("a domain's name is never made up", () => {
  assert.equal(check("domain", {}).failures[0]?.property, "name");
});

test("a type that the stand-in does not have is refused with those that it has", () => {
  const { schema } = digitaloceanPlugin();
  const type = token("volume");
  const { failures } = checkInputs({ schema, type, facts: {}, name: "v", olds: {}, news: {} });
  assert.match(
    failures[0]?.reason ?? "",
    /does not know resource type digitalocean:index\/volume:Volume; it knows .*Vpc/,
  );
});
