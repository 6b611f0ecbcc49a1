import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { HeadObjectCommand, ListBucketsCommand } from "@aws-sdk/client-s3";
import { digitaloceanPlugin } from "../../toolchain/stand-ins/digitalocean/plugin.ts";
import { type Call, PartlyMade, type ResourceKind } from "../../toolchain/stand-ins/plugin/plugin.ts";
import type { Properties } from "../../toolchain/stand-ins/plugin/wire.ts";
import { publicKey, TestApi, token } from "./api/support.ts";
import { startTestSpaces } from "./spaces-support.ts";
import { tinyProject } from "./tiny-project.ts";

const call: Call = {
  urn: "urn",
  name: "thing",
  signal: new AbortController().signal,
  log: () => undefined,
  warn: () => undefined,
};

/** A resource type of the plugin, set up for an API of this test's own. */
function kindFor(api: TestApi, config: Properties = {}): (type: string) => Required<ResourceKind> {
  const plugin = digitaloceanPlugin();
  plugin.configure({ apiEndpoint: api.url, token, httpRetryMax: 0, ...config });
  return (type) => {
    const kind = plugin.resources[`digitalocean:index/${type}:${type[0]?.toUpperCase()}${type.slice(1)}`];
    assert.ok(kind, type);
    return kind as Required<ResourceKind>;
  };
}

/** A disk image of one empty ext4 file system, packed: enough for the API to take it. */
function diskImage(t: TestContext): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-disk-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const path = join(folder, "disk.img");
  execFileSync("truncate", ["-s", "8M", path]);
  execFileSync("/sbin/mkfs.ext4", ["-q", "-F", path]);
  return gzipSync(readFileSync(path));
}

const program = `
import * as pulumi from "@pulumi/pulumi";
import * as docean from "@pulumi/digitalocean";
const config = new pulumi.Config();
const env = process.env;
const provider = new docean.Provider("do", {
  apiEndpoint: env.TEST_API,
  token: pulumi.secret(env.TEST_TOKEN),
  spacesEndpoint: "http://{{.Region}}.spaces.test",
  spacesAccessId: env.TEST_SPACES_ID,
  spacesSecretKey: pulumi.secret(env.TEST_SPACES_SECRET),
  httpRetryMax: 1,
});
const opts = { provider };
const bucket = new docean.SpacesBucket("bucket", { name: "chillbox-test", region: "nyc3", forceDestroy: true }, opts);
const disk = new docean.SpacesBucketObject("disk", {
  bucket: bucket.name, region: "nyc3", key: "disk.img.gz", contentBase64: env.TEST_DISK, acl: "public-read",
}, opts);
new docean.SpacesBucketObject("text", {
  bucket: bucket.name, region: "nyc3", key: "a text.txt", content: config.get("text") ?? "one",
  contentType: "text/plain", cacheControl: "max-age=1",
}, opts);
const spacesKey = new docean.SpacesKey("reader", { grants: [{ bucket: bucket.name, permission: "read" }] }, opts);
const image = new docean.CustomImage("image", {
  regions: ["nyc3"], distribution: "Unknown",
  url: pulumi.interpolate\`http://chillbox-test.nyc3.spaces.test/\${disk.key}\`,
}, opts);
const key = new docean.SshKey("key", { publicKey: env.TEST_KEY + "\\n" }, opts);
const vpc = new docean.Vpc("vpc", { region: "nyc3", description: config.get("description") }, opts);
const tag = new docean.Tag("tag", { name: "chill" }, opts);
const addresses = ["::/0", "0.0.0.0/0"];
new docean.Firewall("firewall", {
  tags: [tag.name],
  inboundRules: [
    { protocol: "tcp", portRange: "22", sourceAddresses: addresses },
    { protocol: "icmp", sourceAddresses: addresses },
  ],
  outboundRules: [{ protocol: "udp", portRange: "all", destinationAddresses: addresses }],
}, opts);
const droplet = new docean.Droplet("server", {
  name: config.get("server") ?? "server-1", region: "nyc3", size: "s-1vcpu-512mb-10gb",
  image: image.imageId.apply(String), sshKeys: [key.fingerprint], vpcUuid: vpc.id, tags: [tag.name],
  userData: pulumi.secret("#!/bin/sh\\necho open sesame " + (config.get("data") ?? "")),
}, opts);
const ip = new docean.ReservedIp("ip", { region: "nyc3" }, opts);
new docean.ReservedIpAssignment("assigned", { ipAddress: ip.ipAddress, dropletId: droplet.id.apply(Number) }, opts);
const domain = new docean.Domain("domain", { name: "example.test" }, opts);
const www = new docean.DnsRecord("www", { domain: domain.name, type: "A", name: "www", value: ip.ipAddress, ttl: 300 }, opts);
new docean.DnsRecord("alias", { domain: domain.name, type: "CNAME", name: "alias", value: "www.example.test." }, opts);
const project = new docean.Project("project", { name: "websites", environment: "Development" }, opts);
new docean.ProjectResources("members", { project: project.id, resources: [droplet.dropletUrn, domain.domainUrn] }, opts);
export const address = droplet.ipv4Address;
export const fqdn = www.fqdn;
export const secretKey = spacesKey.secretKey;
`;

test("the engine makes every resource, keeps it, changes it, replaces it and leaves nothing", async (t) => {
  const spaces = await startTestSpaces();
  t.after(() => spaces.stop());
  const proxy = `http://127.0.0.1:${spaces.port}`;
  const api = await TestApi.start(t, { spacesProxy: proxy });
  const project = await tinyProject(t, program, {
    environment: {
      HTTP_PROXY: proxy,
      TEST_API: api.url,
      TEST_TOKEN: token,
      TEST_SPACES_ID: spaces.full.accessKey,
      TEST_SPACES_SECRET: spaces.full.secretKey,
      TEST_DISK: diskImage(t).toString("base64"),
      TEST_KEY: publicKey,
    },
  });
  const s3 = spaces.client(spaces.full);
  const one = async (path: string, list: string) => {
    const found = (await api.ok("GET", `/v2/${path}`))[list];
    assert.equal(found.length, 1, `${list}: ${JSON.stringify(found)}`);
    return found[0];
  };

  assert.match(await project.ok("preview"), /\+ 19 to create/);
  assert.deepEqual(await project.up(), { create: 19 });
  const droplet = await one("droplets", "droplets");
  assert.deepEqual([droplet.name, droplet.status, droplet.tags], ["server-1", "active", ["chill"]]);
  assert.equal(api.driver.specs.size, 1);
  assert.equal((await one("reserved_ips", "reserved_ips")).droplet.id, droplet.id);
  const firewall = await one("firewalls", "firewalls");
  assert.deepEqual(
    [firewall.tags, firewall.inbound_rules.length, firewall.outbound_rules[0].ports],
    [["chill"], 2, "0"],
  );
  const records = (await api.ok("GET", "/v2/domains/example.test/records")).domain_records;
  const own = records.filter(({ type }: { type: string }) => ["A", "CNAME"].includes(type));
  assert.deepEqual(own.map(({ name }: { name: string }) => name).sort(), ["alias", "www"]);
  const text = { Bucket: "chillbox-test", Key: "a text.txt" };
  const head = await s3.send(new HeadObjectCommand(text));
  assert.deepEqual([head.CacheControl, head.ContentType, head.ContentLength], ["max-age=1", "text/plain", 3]);

  const { secretKey } = JSON.parse(await project.ok("stack", "output", "--json", "--show-secrets"));
  const [found] = (await api.ok("GET", "/v2/spaces/keys")).keys;
  assert.deepEqual(found.grants, [{ bucket: "chillbox-test", permission: "read" }]);
  const plain = project.stateText();
  for (const hidden of ["open sesame", secretKey, token, spaces.full.secretKey]) {
    assert.ok(hidden.length > 5 && !plain.includes(hidden), "no secret is in the state");
  }
  const outputs = new Map((await project.resources()).map(({ type, outputs }) => [type.split(":")[2], outputs]));
  assert.equal(outputs.get("SpacesBucket")?.bucketDomainName, "chillbox-test.nyc3.digitaloceanspaces.com");
  const address = droplet.networks.v4.find(({ type }: { type: string }) => type === "public").ip_address;
  assert.equal(outputs.get("Droplet")?.ipv4Address, address);

  assert.deepEqual(await project.up(), { same: 19 });
  assert.doesNotMatch(await project.ok("refresh", "--yes", "--skip-preview", "--diff"), /\[diff: |Resources:\n +~/);
  assert.deepEqual(await project.up(), { same: 19 }, "a refresh finds nothing else than what was made");

  await project.set("description", "for websites");
  await project.set("text", "longer");
  await project.set("server", "server-2");
  assert.deepEqual(await project.up(), { same: 16, update: 3 });
  const renamed = await one("droplets", "droplets");
  assert.deepEqual([renamed.id, renamed.name], [droplet.id, "server-2"]);
  assert.equal((await one("vpcs?per_page=200", "vpcs")).description, "for websites");
  assert.equal((await s3.send(new HeadObjectCommand(text))).ContentLength, 6);

  await project.set("data", "x");
  const replaced = await project.up();
  assert.equal(replaced.replace, 2, "the droplet, and the assignment of its address");
  const successor = await one("droplets", "droplets");
  assert.notEqual(successor.id, droplet.id);
  assert.equal((await one("reserved_ips", "reserved_ips")).droplet.id, successor.id);

  await project.ok("destroy", "--yes", "--skip-preview");
  for (const [path, list] of Object.entries({
    droplets: "droplets",
    reserved_ips: "reserved_ips",
    firewalls: "firewalls",
    domains: "domains",
    tags: "tags",
    "account/keys": "ssh_keys",
    "images?private=true": "images",
    "spaces/keys": "keys",
  })) {
    assert.deepEqual((await api.ok("GET", `/v2/${path}`))[list], [], path);
  }
  assert.deepEqual((await s3.send(new ListBucketsCommand({}))).Buckets ?? [], []);
});

test("what was changed behind Pulumi's back is found by a read", async (t) => {
  const api = await TestApi.start(t);
  const kind = kindFor(api);
  const { droplet } = await api.ok("POST", "/v2/droplets", await api.dropletBody());
  await api.dropletWith(droplet.id, "active");
  await api.ok("POST", `/v2/droplets/${droplet.id}/actions`, { type: "rename", name: "other" });
  const state = await kind("droplet").read(String(droplet.id), { userData: "hash", image: "1" }, call);
  assert.deepEqual([state?.name, state?.userData, state?.image], ["other", "hash", "1"]);
  assert.equal(await kind("droplet").read("99999", {}, call), undefined);
  for (const type of ["sshKey", "tag", "firewall", "vpc", "domain", "project"]) {
    const id = ["firewall", "vpc", "project"].includes(type) ? "00000000-0000-4000-8000-000000000000" : "404";
    assert.equal(await kind(type).read(id, {}, call), undefined, type);
  }
  await assert.rejects(kind("customImage").read("404", {}, call), /404/);
});

test("a droplet that does not come up is kept in the state, with its id", async (t) => {
  const api = await TestApi.start(t);
  const image = String(await api.addImage());
  const sshKeys = [String(await api.addKey())];
  api.driver.failing.add("powerOn");
  const inputs = { name: "web", region: "nyc3", size: "s-1vcpu-512mb-10gb", image, sshKeys, userData: "#!" };
  const stopping = new AbortController();
  setTimeout(() => stopping.abort(new Error("stopped on request")), 1000);
  await assert.rejects(kindFor(api)("droplet").create(inputs, { ...call, signal: stopping.signal }), (error) => {
    assert.ok(error instanceof PartlyMade, String(error));
    assert.match(error.id, /^\d+$/);
    assert.match(error.message, /droplet \d+ was made, but/);
    assert.equal(error.outputs.userData, "2d46bc445fe5eef1125228cce271ca63a02b246d");
    return true;
  });
});

test("an import that fails is told with the service's reason", async (t) => {
  const api = await TestApi.start(t);
  const inputs = { name: "a", url: "http://127.0.0.1:9/a.img", regions: ["nyc3"], distribution: "Unknown" };
  await assert.rejects(kindFor(api)("customImage").create(inputs, call), /the import of image \d+ failed: \w+/);
});

test("a VPC waits for its last droplet to leave", async (t) => {
  const api = await TestApi.start(t);
  const kind = kindFor(api);
  const { id } = await kind("vpc").create({ name: "net", region: "nyc3" }, call);
  const droplet = await api.addDroplet({ vpc_uuid: id });
  let gone = false;
  const waiting = kind("vpc")
    .delete(id, {}, call)
    .then(() => {
      gone = true;
    });
  await new Promise((resolve) => setTimeout(resolve, 400));
  assert.equal(gone, false);
  await kind("droplet").delete(String(droplet.id), {}, call);
  await waiting;
  await api.refused(404, /./, "GET", `/v2/vpcs/${id}`);
});

test("deleting what is gone is fine for droplets and records, an error for others", async (t) => {
  const api = await TestApi.start(t);
  const kind = kindFor(api);
  await kind("droplet").delete("4711", {}, call);
  await api.ok("POST", "/v2/domains", { name: "example.test" });
  await kind("dnsRecord").delete("4711", { domain: "example.test" }, call);
  for (const type of ["sshKey", "tag", "domain", "spacesKey"]) {
    await assert.rejects(kind(type).delete("4711", {}, call), /404/, type);
  }
});

test("a bucket with objects goes only when it may", async (t) => {
  const spaces = await startTestSpaces();
  t.after(() => spaces.stop());
  const api = await TestApi.start(t);
  const config = {
    spacesEndpoint: "http://{{.Region}}.spaces.test",
    spacesAccessId: spaces.full.accessKey,
    spacesSecretKey: spaces.full.secretKey,
  };
  const before = process.env.HTTP_PROXY;
  process.env.HTTP_PROXY = `http://127.0.0.1:${spaces.port}`;
  t.after(() => {
    if (before === undefined) {
      delete process.env.HTTP_PROXY;
    } else {
      process.env.HTTP_PROXY = before;
    }
  });
  const kind = kindFor(api, config);
  const inputs = { name: "full-bucket", region: "nyc3", acl: "private" };
  const { outputs } = await kind("spacesBucket").create(inputs, call);
  assert.deepEqual(outputs.versioning, { enabled: false });
  const object = { bucket: "full-bucket", key: "k", region: "nyc3", acl: "public-read", content: "hello" };
  const { outputs: made } = await kind("spacesBucketObject").create(object, call);
  assert.equal(made.etag, "5d41402abc4b2a76b9719d911017c592");
  await assert.rejects(kind("spacesBucket").delete("full-bucket", outputs, call), /not empty \(set forceDestroy/);
  await kind("spacesBucket").delete("full-bucket", { ...outputs, forceDestroy: true }, call);
  assert.equal(await kind("spacesBucket").read("full-bucket", outputs, call), undefined);
  await kind("spacesBucketObject").delete("k", made, call);
  await assert.rejects(kindFor(api)("spacesBucket").create(inputs, call), /Spaces credentials not configured/);
});
