import assert from "node:assert/strict";
import { test } from "node:test";
import { commandPlugin } from "../../../toolchain/stand-ins/command/plugin.ts";
import { digitaloceanPlugin } from "../../../toolchain/stand-ins/digitalocean/plugin.ts";
import { defaultsKey } from "../../../toolchain/stand-ins/plugin/check.ts";
import { diffInputs } from "../../../toolchain/stand-ins/plugin/diff.ts";
import { assetValue, type Properties, secret, unknown } from "../../../toolchain/stand-ins/plugin/wire.ts";

const plugins = [digitaloceanPlugin(), commandPlugin];

function diff(type: string, olds: Properties, news: Properties) {
  const token = type.includes(":") ? type : `digitalocean:index/${type}:${type[0]?.toUpperCase()}${type.slice(1)}`;
  const plugin = plugins.find(({ schema }) => token.startsWith(`${schema.package}:`));
  assert.ok(plugin);
  const { facts } = plugin.resources[token] ?? assert.fail(`no such type: ${type}`);
  return diffInputs(plugin.schema, token, facts, olds, news);
}

type Outcome = "same" | "update" | "replace";
const rule = (...addresses: string[]): Properties => ({ protocol: "icmp", sourceAddresses: addresses });

/** Type, property, its value before and after, and what is to be done. */
const changes: [string, string, unknown, unknown, Outcome][] = [
  ["customImage", "url", "a", "b", "replace"],
  ["customImage", "name", "a", "b", "update"],
  ["customImage", "regions", ["nyc3"], ["nyc3", "ams3"], "update"],
  ["customImage", "regions", ["nyc3", "ams3"], ["ams3", "nyc3"], "same"],
  ["customImage", "regions", ["nyc3", "ams3"], ["nyc3"], "replace"],
  ["dnsRecord", "domain", "a", "b", "replace"],
  ["dnsRecord", "type", "A", "AAAA", "replace"],
  ["dnsRecord", "value", "192.0.2.1", "192.0.2.2", "update"],
  ["dnsRecord", "name", "a", "b", "update"],
  ["dnsRecord", "ttl", 300, 600, "update"],
  ["dnsRecord", "ttl", 300, undefined, "same"],
  ["domain", "name", "a", "b", "replace"],
  ["domain", "ipAddress", "192.0.2.1", "192.0.2.2", "replace"],
  ["droplet", "image", "1", "2", "replace"],
  ["droplet", "region", "nyc3", "ams3", "replace"],
  ["droplet", "region", "nyc3", undefined, "same"],
  ["droplet", "userData", "a", "b", "replace"],
  ["droplet", "sshKeys", ["1"], ["1", "2"], "replace"],
  ["droplet", "vpcUuid", "a", "b", "replace"],
  ["droplet", "monitoring", false, true, "replace"],
  ["droplet", "dropletAgent", undefined, true, "replace"],
  ["droplet", "publicNetworking", true, false, "replace"],
  ["droplet", "name", "a", "b", "update"],
  ["droplet", "size", "a", "b", "update"],
  ["droplet", "tags", ["a"], ["b"], "update"],
  ["droplet", "tags", ["a", "B"], ["b", "A"], "same"],
  ["droplet", "ipv6", false, true, "update"],
  ["droplet", "ipv6", true, false, "replace"],
  ["droplet", "backups", false, true, "update"],
  ["firewall", "name", "a", "b", "update"],
  ["firewall", "inboundRules", [rule("a", "b")], [rule("b", "a")], "same"],
  ["firewall", "inboundRules", [rule("a"), rule("b")], [rule("b"), rule("a")], "same"],
  ["firewall", "inboundRules", [rule("a")], [rule("a", "b")], "update"],
  ["firewall", "tags", ["a"], ["a", "b"], "update"],
  ["project", "description", "a", "b", "update"],
  ["project", "resources", ["a", "b"], ["b", "a"], "same"],
  ["projectResources", "project", "a", "b", "replace"],
  ["projectResources", "resources", ["a"], ["b"], "update"],
  ["reservedIp", "region", "nyc3", "ams3", "replace"],
  ["reservedIp", "dropletId", 1, 2, "update"],
  ["reservedIpAssignment", "dropletId", 1, 2, "replace"],
  ["reservedIpAssignment", "ipAddress", "a", "b", "replace"],
  ["spacesBucket", "region", "nyc3", "ams3", "replace"],
  ["spacesBucket", "name", "a", "b", "update"],
  ["spacesBucket", "acl", "private", "public-read", "update"],
  ["spacesBucketObject", "bucket", "a", "b", "replace"],
  ["spacesBucketObject", "key", "a", "b", "replace"],
  ["spacesBucketObject", "content", "a", "b", "update"],
  ["spacesBucketObject", "etag", "a", "b", "update"],
  ["spacesKey", "name", "a", "b", "update"],
  ["spacesKey", "grants", ["a", "b"], ["b", "a"], "update"],
  ["sshKey", "publicKey", "ssh-ed25519 AAAA", "ssh-ed25519 BBBB", "replace"],
  ["sshKey", "publicKey", "ssh-ed25519 AAAA", "ssh-ed25519 AAAA\n", "same"],
  ["sshKey", "name", "a", "b", "update"],
  ["tag", "name", "a", "b", "replace"],
  ["vpc", "region", "nyc3", "ams3", "replace"],
  ["vpc", "ipRange", "192.0.2.0/24", "198.51.100.0/24", "replace"],
  ["vpc", "ipRange", "192.0.2.0/24", undefined, "same"],
  ["vpc", "description", "a", "b", "update"],
  ["vpc", "description", "a", undefined, "update"],
  ["command:local:Command", "triggers", [1], [2], "replace"],
  ["command:local:Command", "create", "a", "b", "update"],
  ["command:local:Command", "stdin", "a", "b", "update"],
  ["command:local:Command", "delete", "a", "b", "update"],
  ["command:local:Command", "environment", { A: "1" }, { A: "2" }, "update"],
  ["command:remote:Command", "triggers", ["a"], undefined, "replace"],
  ["command:remote:Command", "connection", { host: "a" }, { host: "b" }, "update"],
  ["command:remote:CopyToRemote", "remotePath", "a", "b", "update"],
  ["command:remote:CopyToRemote", "triggers", ["a"], ["b"], "replace"],
];

for (const [type, key, before, after, expected] of changes) {
  test(`${type}.${key}: ${JSON.stringify(before)} -> ${JSON.stringify(after)}: ${expected}`, () => {
    const difference = diff(type, { other: 1, [key]: before }, { other: 1, [key]: after });
    const outcome = difference.changes.size === 0 ? "same" : difference.replaces.length > 0 ? "replace" : "update";
    assert.equal(outcome, expected);
    assert.deepEqual([...difference.changes.keys()], expected === "same" ? [] : [key]);
    assert.deepEqual(difference.replaces, expected === "replace" ? [key] : []);
  });
}

test("each change says its kind", () => {
  const olds = { userData: "a", sshKeys: ["1"], size: "s", backups: true };
  const { changes: kinds } = diff("droplet", olds, { userData: "b", size: "l", monitoring: true, name: "n" });
  assert.deepEqual(Object.fromEntries(kinds), {
    userData: "update-replace",
    sshKeys: "delete-replace",
    size: "update",
    backups: "delete",
    monitoring: "add-replace",
    name: "add",
  });
});

test("a value that is not known yet counts as a change, deep inside too", () => {
  assert.deepEqual(diff("droplet", { image: "1" }, { image: unknown }).replaces, ["image"]);
  assert.deepEqual(diff("droplet", { tags: ["a"] }, { tags: [unknown] }).replaces, []);
  assert.equal(diff("droplet", { tags: ["a"] }, { tags: [unknown] }).changes.get("tags"), "update");
  const connection = secret({ host: unknown });
  assert.equal(diff("command:remote:Command", { connection: { host: "a" } }, { connection }).changes.size, 1);
});

test("a value that only became secret, or null, is no change", () => {
  assert.equal(diff("droplet", { userData: "a" }, { userData: secret("a") }).changes.size, 0);
  assert.equal(diff("droplet", { userData: secret("a") }, { userData: secret("a") }).changes.size, 0);
  assert.equal(diff("droplet", {}, { tags: null }).changes.size, 0);
  assert.equal(diff("droplet", { userData: secret("a") }, { userData: secret("b") }).replaces.length, 1);
});

test("files are compared by content, not by path", () => {
  const source = (path: string, hash: string) => ({ source: assetValue({ path, hash }) });
  assert.equal(diff("command:remote:CopyToRemote", source("a", "1"), source("b", "1")).changes.size, 0);
  assert.equal(diff("command:remote:CopyToRemote", source("a", "1"), source("a", "2")).changes.size, 1);
});

test("a thing with a chosen name goes before its replacement comes; one with a made-up name after", () => {
  const replacing = (inputs: Properties) =>
    diff("droplet", { ...inputs, image: "1" }, { ...inputs, image: "2" }).deleteBeforeReplace;
  assert.equal(replacing({ name: "web", [defaultsKey]: ["backups"] }), true);
  assert.equal(replacing({ name: "web-0123456", [defaultsKey]: ["backups", "name"] }), false);
  assert.equal(diff("droplet", { size: "a" }, { size: "b" }).deleteBeforeReplace, false);
  assert.equal(diff("reservedIp", { region: "a" }, { region: "b" }).deleteBeforeReplace, false);
});

test("the list of filled-in defaults is no property", () => {
  assert.equal(diff("droplet", { [defaultsKey]: ["a"] }, { [defaultsKey]: ["b"] }).changes.size, 0);
});
