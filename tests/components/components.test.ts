import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { find, listed, optionsOf, record, recording, resolved, useMocks } from "./mocks.ts";

before(useMocks);

const endpoint = "http://nyc3.spaces.test";
/** What the server gets to download with. */
const downloads = {
  endpoint,
  region: "nyc3",
  accessKey: "storage-download-key-access",
  secretKey: "storage-download-key-secret",
};
const base = { resourceName: "chillbox-test", region: "nyc3" };
const storageArgs = { ...base, endpoint, forceDestroy: false, protect: true };

/** Components that others stand on, made without recording what they are made of. */
async function makeStorage(changes: object = {}) {
  const { Storage } = await import("../../components/storage.ts");
  return new Storage("storage", { ...storageArgs, ...changes }, recording);
}
async function makeNetwork() {
  const { Network } = await import("../../components/network.ts");
  const outbound = [{ protocol: "tcp", ports: "5432", address: "203.0.113.5" }] as const;
  const args = { ...base, sshAllowedAddresses: ["198.51.100.0/24"], outbound, protect: true };
  return new Network("network", args, recording);
}
async function makeAdminKey() {
  const { AdminKey } = await import("../../components/admin-key.ts");
  return new AdminKey("admin-key", base, recording);
}
const identity = {
  server: "chillbox-test-1",
  serverName: "box.test",
  project: "chillbox",
  stack: "test",
  generation: 1,
};
async function makeUserData() {
  const { UserData } = await import("../../components/user-data.ts");
  return new UserData("user-data-1", { identity, publicKey: "ssh-ed25519 AAAApublic chillbox" }, recording);
}
async function makeServer() {
  const { Server } = await import("../../components/server.ts");
  const [storage, network, adminKey, userData] = await Promise.all([
    makeStorage(),
    makeNetwork(),
    makeAdminKey(),
    makeUserData(),
  ]);
  const server = new Server(
    "server-1",
    {
      hostName: "chillbox-test-1",
      serverName: "box.test",
      region: "nyc3",
      size: "s-1vcpu-512mb-10gb",
      imageId: "42",
      network,
      adminKey,
      userData,
      scripts: { path: "/scripts.tar", sha256: "aa" },
      wheelsDigest: "77",
      adminPublicKeys: ["ssh-ed25519 AAAAperson"],
      keepReleases: 3,
      tls: {
        enabled: true,
        directory: "https://acme.test/dir",
        trial: null,
        email: "a@box.test",
        ca: null,
        hsts: false,
      },
      sshAllowedAddresses: ["198.51.100.0/24"],
      outbound: [],
      limits: { memoryMiB: 0, processes: 0, diskMiB: 0 },
      updates: { automatic: true, window: "03:00-05:00", reboot: true },
      protect: true,
    },
    recording,
  );
  return { server, storage };
}
async function makeServerKey(number = 1) {
  const { ServerKey } = await import("../../components/server-key.ts");
  const { server, storage } = await makeServer();
  const key = new ServerKey("server-1-key", { server, storage, hostName: "chillbox-test-1", number }, recording);
  return { server, storage, serverKey: key };
}

/** stdin of a local or remote command. */
function input(resources: Parameters<typeof find>[0], name: string): Record<string, unknown> {
  return JSON.parse(find(resources, name, "Command").inputs.stdin);
}

test("Storage: two private buckets and a key for each who uses them", async () => {
  const { resources } = await record(makeStorage);
  assert.deepEqual(listed(resources), [
    "SpacesBucket storage-artifacts",
    "SpacesBucket storage-immutable",
    "SpacesKey storage-download-key",
    "SpacesKey storage-upload-key",
    "chillbox:index:Storage storage",
    "command:local:Command storage-suffix",
  ]);
  const bucket = { region: "nyc3", acl: "private", forceDestroy: false };
  assert.deepEqual(find(resources, "storage-artifacts").inputs, {
    ...bucket,
    name: "chillbox-test-0a1b2c3d-artifacts",
  });
  assert.deepEqual(find(resources, "storage-immutable").inputs, {
    ...bucket,
    name: "chillbox-test-0a1b2c3d-immutable",
  });
  assert.deepEqual(find(resources, "storage-download-key").inputs, {
    name: "chillbox-test-download",
    grants: [{ bucket: "chillbox-test-0a1b2c3d-artifacts", permission: "read" }],
  });
  assert.deepEqual(find(resources, "storage-upload-key").inputs.grants, [
    { bucket: "chillbox-test-0a1b2c3d-immutable", permission: "readwrite" },
    { bucket: "chillbox-test-0a1b2c3d-artifacts", permission: "readwrite" },
  ]);
  assert.deepEqual(optionsOf("storage-artifacts").replaceOnChanges, ["name"]);
  assert.equal(optionsOf("storage-artifacts").protect, true);
  assert.ok(optionsOf("storage-suffix").ignoreChanges.includes("stdin"), "the suffix is made once");
});

test("Storage: buckets that go with their files need no removal one by one", async () => {
  const { made } = await record(async () => ({
    kept: await makeStorage(),
    destroyed: await makeStorage({ forceDestroy: true }),
  }));
  const { kept, destroyed } = made;
  assert.deepEqual(kept.deletedWith(kept.artifactBucket), {});
  assert.deepEqual(destroyed.deletedWith(destroyed.artifactBucket), { deletedWith: destroyed.artifactBucket });
});

test("Network: firewall by tag, an address, no droplet ids", async () => {
  const { resources } = await record(makeNetwork);
  assert.deepEqual(listed(resources), [
    "Firewall network-firewall",
    "ReservedIp network-ip",
    "Tag network-tag",
    "Vpc network-vpc",
    "chillbox:index:Network network",
  ]);
  const { inputs } = find(resources, "network-firewall");
  const everywhere = ["0.0.0.0/0", "::/0"];
  assert.deepEqual(inputs.tags, ["chillbox-test"]);
  assert.equal(inputs.dropletIds, undefined);
  assert.deepEqual(inputs.inboundRules, [
    { protocol: "tcp", portRange: "22", sourceAddresses: ["198.51.100.0/24"] },
    { protocol: "tcp", portRange: "80", sourceAddresses: everywhere },
    { protocol: "tcp", portRange: "443", sourceAddresses: everywhere },
  ]);
  const outbound = (inputs.outboundRules as { protocol: string; portRange?: string }[]).map(
    ({ protocol, portRange = "" }) => `${protocol}${portRange}`,
  );
  assert.deepEqual(outbound, ["udp53", "tcp53", "udp67", "tcp80", "tcp443", "udp123", "icmp", "tcp5432"]);
  assert.equal(optionsOf("network-ip").protect, true);
});

test("Image: built, uploaded under a name nobody guesses, imported, the upload removed", async () => {
  const { imageDigest } = await import("../../image/digest.ts");
  const { Image } = await import("../../components/image.ts");
  const { resources, made } = await record(
    async () => new Image("image", { ...base, endpoint, storage: await makeStorage() }, recording),
  );
  assert.deepEqual(
    listed(resources).filter((line) => !line.includes("storage")),
    [
      "CustomImage image",
      "chillbox:index:Image image",
      "command:local:Command image-build",
      "command:local:Command image-upload",
      "command:local:Command image-upload-name",
      "command:local:Command image-upload-removal",
    ],
  );
  const digest = imageDigest();
  assert.deepEqual(input(resources, "image-build"), { digest });
  const { key, digest: uploaded } = input(resources, "image-upload") as { key: string; digest: string };
  assert.match(key, /^import\/[0-9a-f]{32}\.qcow2\.gz$/);
  assert.equal(uploaded, digest);
  assert.deepEqual(find(resources, "image", "CustomImage").inputs, {
    name: `chillbox-test-${digest.slice(0, 12)}`,
    url: `http://chillbox-test-0a1b2c3d-artifacts.nyc3.spaces.test/${key}`,
    regions: ["nyc3"],
    distribution: "Unknown",
  });
  assert.equal(optionsOf("image", "CustomImage").deleteBeforeReplace, false);
  assert.deepEqual(input(resources, "image-upload-removal").prefixes, [key]);
  assert.equal(await resolved(made.imageId), "42");
});

test("AdminKey: one key pair, made once", async () => {
  const { resources } = await record(makeAdminKey);
  assert.deepEqual(listed(resources), [
    "SshKey admin-key",
    "chillbox:index:AdminKey admin-key",
    "command:local:Command admin-key-pair",
  ]);
  assert.deepEqual(find(resources, "admin-key", "SshKey").inputs, {
    name: "chillbox-test",
    publicKey: "ssh-ed25519 AAAApublic chillbox",
  });
});

test("UserData: a provisional host key and an envelope, made once", async () => {
  const { resources, made } = await record(makeUserData);
  assert.deepEqual(listed(resources), [
    "chillbox:index:UserData user-data-1",
    "command:local:Command user-data-1-envelope",
    "command:local:Command user-data-1-host-key",
  ]);
  const { purpose, text } = input(resources, "user-data-1-envelope") as { purpose: object; text: string };
  assert.deepEqual(purpose, { purpose: "first-boot", server: "chillbox-test-1", number: 1 });
  assert.match(text, /ssh-ed25519 AAAApublic chillbox/);
  for (const name of ["user-data-1-envelope", "user-data-1-host-key"]) {
    assert.ok(optionsOf(name).ignoreChanges.includes("stdin"), `${name} is made once`);
  }
  const { userData } = made;
  assert.match(await resolved(userData), /PRIVATE KEY\n[\s\S]*ZW52ZWxvcGU=/);
  assert.ok(await pulumi.isSecret(userData));
});

test("Server: droplet, address, enrol as root, configure as the admin user", async () => {
  const { resources, made } = await record(makeServer);
  const own = resources.filter(({ name }) => name.startsWith("server-1"));
  assert.deepEqual(listed(own), [
    "Droplet server-1-droplet",
    "ReservedIpAssignment server-1-ip",
    "chillbox:index:Server server-1",
    "command:local:Command server-1-configure",
    "command:local:Command server-1-enrol",
  ]);
  const { userData, ...droplet } = find(own, "server-1-droplet").inputs;
  assert.match(userData, /^#!\/bin\/sh\n/);
  // Neither ipv6 nor monitoring: a droplet of a custom image can have neither.
  assert.deepEqual(droplet, {
    name: "chillbox-test-1",
    region: "nyc3",
    size: "s-1vcpu-512mb-10gb",
    image: "42",
    vpcUuid: "network-vpc-id",
    sshKeys: ["admin-key-id"],
    tags: ["chillbox-test"],
    backups: false,
    gracefulShutdown: false,
    monitoring: false,
    resizeDisk: true,
  });
  const { ignoreChanges, protect } = optionsOf("server-1-droplet");
  assert.deepEqual(ignoreChanges, ["image", "userData", "sshKeys"]);
  assert.equal(protect, true);
  assert.deepEqual(find(own, "server-1-ip").inputs, { dropletId: 7, ipAddress: "198.51.100.9" });

  const enrol = find(own, "server-1-enrol");
  assert.equal(enrol.inputs.create, "sh local-commands/run.sh ansible/run.ts enrol");
  assert.deepEqual(enrol.inputs.triggers, ["7"]);
  assert.deepEqual(input(own, "server-1-enrol"), {
    host: "198.51.100.7",
    port: 22,
    user: "root",
    privateKey: "PRIVATE KEY\n",
    hostKeys: ["ssh-ed25519 AAAApublic chillbox"],
    input: {
      envelopeKey: "ENVELOPE KEY",
      envelopeSha256: "ee",
      purpose: { purpose: "first-boot", server: "chillbox-test-1", number: 1 },
    },
  });
  assert.deepEqual(input(own, "server-1-configure"), {
    host: "198.51.100.7",
    port: 22,
    user: "chillbox",
    privateKey: "PRIVATE KEY\n",
    hostKeys: ["ssh-ed25519 AAAApublic chillbox", "ssh-ed25519 AAAAfinal"],
    input: {
      hostKey: "ssh-ed25519 AAAAfinal",
      scripts: { path: "/scripts.tar", sha256: "aa" },
      python: { python: "3.13", platforms: ["musllinux_1_2_x86_64"] },
      wheels: "77",
      serverName: "box.test",
      adminPublicKeys: ["ssh-ed25519 AAAAperson"],
      sitesKeep: 3,
      tls: {
        enabled: true,
        directory: "https://acme.test/dir",
        trial: null,
        email: "a@box.test",
        ca: null,
        hsts: false,
      },
      firewall: { sshAllowedAddresses: ["198.51.100.0/24"], outbound: [] },
      limits: { memoryMiB: 0, processes: 0, diskMiB: 0 },
      updates: { automatic: true, window: "03:00-05:00", reboot: true },
    },
  });
  const { server } = made;
  assert.equal(await resolved(server.connection.hostKey as pulumi.Input<string>), "ssh-ed25519 AAAAfinal");
});

test("every local command keeps its input to itself", async () => {
  const { resources } = await record(makeServer);
  const commands = resources.filter(({ type }) => type === "command:local:Command");
  assert.ok(commands.length === 6);
  for (const { name, inputs } of commands) {
    assert.equal(inputs.addPreviousOutputInEnv, false, name);
    assert.equal(inputs.environment, undefined, name);
    assert.ok(["none", "stderr"].includes(inputs.logging), name);
    assert.match(inputs.create, /^sh local-commands\/run\.sh [a-z/-]+\.ts( [a-z]+)?$/, name);
    assert.deepEqual(optionsOf(name).additionalSecretOutputs, ["stdin", "stdout", "stderr"], name);
  }
});

const site = {
  slug: "shop",
  path: "/sites/shop.site.json",
  digest: "",
  name: "Shop",
  serverName: "shop.test",
  domains: ["shop.test"],
  release: "./shop",
  env: [],
  services: [{ name: "api", lang: "python" as const, handler: "api", environment: [{ name: "PORT", value: "8002" }] }],
  workers: [],
  warnings: [],
};
const release = {
  slug: "shop",
  version: "1.0.0",
  artifactPath: "/artifacts/shop.tar.gz",
  artifactSha256: "ab",
  artifactSize: 12,
  artifactDigest: "cd",
  template: "server { listen 80; server_name $SERVER_NAME; }",
  templateName: "shop.conf",
  immutable: [{ service: "assets", hash: "h", folder: "/artifacts/assets/h", digest: "ef" }],
  env: [],
};
const surroundings = {
  serverName: "box.test",
  techEmail: "a@box.test",
  manageDns: false,
  acmeServer: "https://acme.test/dir",
  tls: true,
  artifactBucket: "a",
  immutableBucket: "i",
  immutableBucketHost: "i.nyc3.spaces.test",
  s3Endpoint: endpoint,
  subnet: "10.1.0.0/24",
};

type Secrets = readonly import("../../lib/site-secrets.ts").SecretsFile[];

/** A site with these secrets, and all that it asked for. */
async function recordSite(secrets: Secrets) {
  const { Site } = await import("../../components/site.ts");
  return record(async () => {
    const args = {
      site,
      release,
      reason: "a test",
      surroundings,
      fetchWheels: true,
      secrets,
      ...(await makeServerKey()),
    };
    return new Site("site-shop", args, recording);
  });
}

test("Site: uploads, then one command with the manifest on stdin, without triggers; nothing for secrets that it does not have", async () => {
  const { resources } = await recordSite([]);
  const own = resources.filter(({ name }) => name.startsWith("site-shop"));
  assert.deepEqual(listed(own), [
    "chillbox:index:Site site-shop",
    "command:local:Command site-shop-upload",
    "command:remote:Command site-shop-install",
  ]);
  assert.deepEqual(input(own, "site-shop-upload"), {
    buckets: {
      endpoint,
      region: "nyc3",
      artifactBucket: "chillbox-test-0a1b2c3d-artifacts",
      immutableBucket: "chillbox-test-0a1b2c3d-immutable",
      accessKey: "storage-upload-key-access",
      secretKey: "storage-upload-key-secret",
    },
    upload: {
      slug: "shop",
      version: "1.0.0",
      artifact: { path: "/artifacts/shop.tar.gz", sha256: "ab", size: 12, digest: "cd" },
      python: {
        services: [{ name: "api", carried: ["base"] }],
        server: { python: "3.13", platforms: ["musllinux_1_2_x86_64"] },
        fetchWheels: true,
      },
      trees: [{ folder: "/artifacts/assets/h", prefix: "shop/immutable/assets/h", digest: "ef" }],
    },
  });
  const install = find(own, "site-shop-install");
  const { stdin, ...rest } = install.inputs;
  assert.deepEqual(rest, {
    connection: {
      host: "198.51.100.7",
      port: 22,
      perDialTimeout: 15,
      dialErrorLimit: 10,
      user: "chillbox",
      privateKey: "PRIVATE KEY\n",
      hostKey: "ssh-ed25519 AAAAfinal",
    },
    create: "doas chillbox-site install",
    delete: "doas chillbox-site remove",
    logging: "none",
    addPreviousOutputInEnv: false,
  });
  const manifest = JSON.parse(stdin);
  assert.equal(manifest.server, "7");
  assert.deepEqual(manifest.spaces, downloads);
  assert.equal(manifest.by, "me@laptop");
  assert.equal(manifest.reason, "a test");
  assert.equal(manifest.artifact.key, "sites/shop/put.tar.gz");
  assert.match(manifest.release, /^1\.0\.0\+[0-9a-f]{12}$/);
  assert.equal(manifest.nginx, "server { listen 80; server_name shop.test; }");
  const opts = optionsOf("site-shop-install");
  assert.equal(opts.deletedWith?.__name, "server-1-droplet");
});

test("ServerKey: a passphrase of its own for each number, the key made on the server, its public half put in one place", async () => {
  const { resources, made } = await record(() => makeServerKey(2));
  const own = resources.filter(({ name }) => name.startsWith("server-1-key"));
  assert.deepEqual(listed(own), [
    "chillbox:index:ServerKey server-1-key",
    "command:local:Command server-1-key-passphrase-2",
    "command:local:Command server-1-key-publication",
    "command:remote:Command server-1-key-2",
  ]);
  assert.deepEqual(input(own, "server-1-key-passphrase-2"), { bytes: 32 });
  assert.ok(optionsOf("server-1-key-passphrase-2").ignoreChanges.includes("stdin"), "the passphrase is made once");
  const { create, delete: gone, logging } = find(own, "server-1-key-2").inputs;
  assert.deepEqual(
    [create, gone, logging],
    ["doas chillbox-server-key ensure", "doas chillbox-server-key forget", "none"],
  );
  assert.deepEqual(input(own, "server-1-key-2"), { number: 2, passphrase: "0a1b2c3d" });
  assert.equal(optionsOf("server-1-key-2").deletedWith?.__name, "server-1-droplet");
  const { spaces: _, ...publication } = input(own, "server-1-key-publication");
  const object = "chillbox/public-keys/chillbox-test-1.public.pem";
  assert.deepEqual(publication, { object, text: "PEM", prefixes: [object] });
  for (const secret of [made.serverKey.passphrase, made.serverKey.publicKey]) assert.ok(await pulumi.isSecret(secret));
});

test("Site with secrets: each sealed to the server's key, then one command with all of them, then the install", async () => {
  const content = { base64: Buffer.from("very secret").toString("base64") };
  const { resources } = await recordSite([
    { service: "api", file: "api.cfg", content },
    { service: "mailer", file: "m.env", content: { older: "0ld" } },
  ]);
  const own = resources.filter(({ name }) => name.startsWith("site-shop-secrets"));
  assert.deepEqual(listed(own), [
    "chillbox:index:SiteSecrets site-shop-secrets",
    "command:local:Command site-shop-secrets-api",
    "command:local:Command site-shop-secrets-mailer",
    "command:remote:Command site-shop-secrets-put",
  ]);
  const prefix = "chillbox/encrypted-secrets/shop/api/chillbox-test-1/";
  const { spaces, ...seal } = input(own, "site-shop-secrets-api");
  assert.equal((spaces as { accessKey: string }).accessKey, "storage-upload-key-access");
  assert.deepEqual(seal, {
    slug: "shop",
    secret: { service: "api", file: "api.cfg", content },
    publicKey: "PEM",
    object: `${prefix}api.cfg`,
    prefixes: [prefix],
  });
  assert.deepEqual(input(own, "site-shop-secrets-mailer").prefixes, [], "what other tools have put is theirs");
  const put = find(own, "site-shop-secrets-put");
  assert.equal(put.inputs.create, "doas chillbox-secrets put");
  assert.equal(put.inputs.delete, "doas chillbox-secrets remove");
  assert.deepEqual(JSON.parse(put.inputs.stdin), {
    slug: "shop",
    key: { number: 1, passphrase: "0a1b2c3d" },
    spaces: downloads,
    secrets: Array(2).fill({ service: "api", file: "api.cfg", format: "envelope", sha256: "sealed", number: 5 }),
  });
  const needed = (name: string) =>
    (optionsOf(name).dependsOn as { __name: string }[]).map(({ __name }) => __name).sort();
  assert.deepEqual(needed("site-shop-secrets-put"), ["server-1-configure", "server-1-key-1"]);
  assert.ok(needed("site-shop-install").includes("site-shop-secrets-put"));
  // Only what goes through the encryption has the secret.
  const text = Buffer.from("very secret").toString("base64");
  const holders = resources.filter(({ inputs }) => JSON.stringify(inputs).includes(text)).map(({ name }) => name);
  assert.deepEqual(holders, ["site-shop-secrets-api"]);
});

test("Dns: a zone for each registrable domain, a record for each name", async () => {
  const { Dns } = await import("../../components/dns.ts");
  const names = ["shop.test", "www.shop.test", "box.example.co.uk", "a.b.own.test"];
  const { resources } = await record(
    async () => new Dns("dns", { names, zones: ["b.own.test"], ipAddress: "198.51.100.9", protect: true }, recording),
  );
  assert.deepEqual(listed(resources), [
    "DnsRecord dns-a.b.own.test-a",
    "DnsRecord dns-box.example.co.uk-a",
    "DnsRecord dns-shop.test-a",
    "DnsRecord dns-www.shop.test-a",
    "Domain dns-b.own.test",
    "Domain dns-example.co.uk",
    "Domain dns-shop.test",
    "chillbox:index:Dns dns",
  ]);
  assert.deepEqual(find(resources, "dns-shop.test-a").inputs, {
    domain: "shop.test",
    type: "A",
    name: "@",
    value: "198.51.100.9",
    ttl: 1800,
  });
  assert.equal(find(resources, "dns-www.shop.test-a").inputs.name, "www");
  assert.equal(optionsOf("dns-shop.test").protect, true);
});

test("Project: holds what it is told to", async () => {
  const { Project } = await import("../../components/project.ts");
  const { resources } = await record(
    async () => new Project("project", { resourceName: "chillbox-test", resources: ["do:droplet:7"] }, recording),
  );
  assert.deepEqual(listed(resources), [
    "Project project",
    "ProjectResources project-resources",
    "chillbox:index:Project project",
  ]);
  assert.deepEqual(find(resources, "project-resources").inputs, { project: "project-id", resources: ["do:droplet:7"] });
});

test("components hand no inputs to the engine, and every child hangs below its component", async () => {
  const { resources } = await record(makeServer);
  for (const { type, name, inputs } of resources) if (type.startsWith("chillbox:")) assert.deepEqual(inputs, {}, name);
  for (const name of ["server-1-droplet", "server-1-enrol", "server-1-configure", "server-1-ip"]) {
    assert.equal(optionsOf(name).parent?.__name, "server-1", name);
  }
});
