import assert from "node:assert/strict";
import { test } from "node:test";
import { buildManifest, checkPorts, type ManifestParts, portsOf, renderSite } from "../../../lib/manifest.ts";

const site = {
  slug: "shop",
  path: "/sites/shop.site.json",
  digest: "",
  name: "Shop",
  serverName: "shop.test",
  domains: ["shop.test", "www.shop.test"],
  release: "./shop",
  env: [
    { name: "API_PORT", value: "9" },
    { name: "API_PORT__chillbox", value: "8002" },
    { name: "URL", value: "http://$SERVER_NAME:$API_PORT/$uri" },
  ],
  services: [
    {
      name: "api",
      lang: "python" as const,
      handler: "api",
      workers: 2,
      niceness: 5,
      environment: [
        { name: "PORT", value: "$API_PORT" },
        { name: "DATA", value: "/var/lib/$SLUGNAME/$" + "{VERSION}" },
        { name: "ALSO", value: "$DATA/x" },
        { name: "TECH_EMAIL", value: "own@shop.test" },
      ],
    },
    { name: "assets", lang: "immutable" as const, handler: "assets", environment: [] },
  ],
  workers: [],
  warnings: [],
};
const release = {
  slug: "shop",
  version: "1.2.3+build",
  artifactPath: "/a.tar.gz",
  artifactSha256: "ab".repeat(32),
  artifactSize: 12,
  artifactDigest: "cd",
  template:
    "server {\nlisten $SERVER_PORT;\nserver_name $SERVER_NAME;\nset $y $URL;\nset $x $host; # $IMMUTABLE_BUCKET_DOMAIN_NAME $S3_ENDPOINT_URL\n}\n",
  templateName: "shop 1.2.3: shop.nginx.conf.template",
  immutable: [],
  env: [],
};
const surroundings = {
  serverName: "box.test",
  techEmail: "a@box.test",
  manageDns: true,
  acmeServer: "https://acme.test/dir",
  tls: true,
  artifactBucket: "b-artifacts",
  immutableBucket: "b-immutable",
  immutableBucketHost: "b-immutable.nyc3.spaces.test",
  s3Endpoint: "http://nyc3.spaces.test",
  subnet: "10.1.0.0/24",
};
const spaces = { endpoint: "http://nyc3.spaces.test", region: "nyc3", accessKey: "A", secretKey: "S" };
const parts: ManifestParts = { site, release, surroundings, server: "7", spaces, by: "me@laptop", reason: "pulumi up" };

test("a variable may have any name and be empty", () => {
  const environment = ["__proto__", "EMPTY"].map((name) => ({ name, value: name === "EMPTY" ? "" : "x" }));
  const [api] = renderSite(
    {
      ...site,
      services: [{ ...site.services[0], environment: [...environment, { name: "PORT", value: "1234" }] }],
    } as typeof site,
    release,
    surroundings,
  ).services;
  const found = Object.entries(api?.environment ?? {});
  assert.deepEqual(
    found.filter(([name]) => ["__proto__", "EMPTY"].includes(name)),
    [
      ["__proto__", "x"],
      ["EMPTY", ""],
    ],
  );
});

test("the manifest of a site", () => {
  const { nginx, services, release: name, ...rest } = buildManifest(parts);
  assert.deepEqual(rest, {
    format: 2,
    server: "7",
    slug: "shop",
    version: "1.2.3+build",
    artifact: {
      bucket: "b-artifacts",
      key: `sites/shop/${"ab".repeat(32)}.tar.gz`,
      sha256: "ab".repeat(32),
      size: 12,
    },
    serverName: "shop.test",
    domains: ["shop.test", "www.shop.test"],
    crontab: [],
    spaces,
    by: "me@laptop",
    reason: "pulumi up",
  });
  assert.match(name, /^1\.2\.3\+build\+[0-9a-f]{12}$/);
  assert.equal(
    nginx,
    "server {\nlisten 80;\nserver_name shop.test;\nset $y http://shop.test:8002/$uri;\nset $x $host; # b-immutable.nyc3.spaces.test http://nyc3.spaces.test\n}\n",
  );
  assert.deepEqual(services, [
    {
      name: "api",
      lang: "python",
      handler: "api",
      host: "127.0.0.1",
      port: 8002,
      workers: 2,
      workerClass: "sync",
      maxRequests: 0,
      maxRequestsJitter: 0,
      logLevel: "info",
      niceness: 5,
      health: null,
      environment: {
        HOST: "127.0.0.1",
        S3_ENDPOINT_URL: "http://nyc3.spaces.test",
        ARTIFACT_BUCKET_NAME: "b-artifacts",
        IMMUTABLE_BUCKET_NAME: "b-immutable",
        IMMUTABLE_BUCKET_DOMAIN_NAME: "b-immutable.nyc3.spaces.test",
        CHILLBOX_SERVER_NAME: "box.test",
        CHILLBOX_SERVER_PORT: "80",
        SERVER_PORT: "80",
        CHILLBOX_SUBNET: "10.1.0.0/24",
        TECH_EMAIL: "own@shop.test",
        PORT: "8002",
        DATA: "/var/lib/shop/1.2.3+build",
        ALSO: "/var/lib/shop/1.2.3+build/x",
      },
    },
  ]);
});

test("a site with Redis and a crontab", () => {
  const crontab = ["@hourly $SLUGNAME $HOME"];
  const manifest = buildManifest({ ...parts, site: { ...site, redis: { port: 1, Save: "" }, crontab } });
  assert.deepEqual(manifest.redis, { save: "" });
  assert.deepEqual(manifest.crontab, ["@hourly shop $HOME"]);
  const { SLUGNAME, VERSION, SERVER_NAME, S3_ENDPOINT_URL } = manifest.crontabEnvironment ?? {};
  assert.deepEqual([SLUGNAME, VERSION, SERVER_NAME], ["shop", "1.2.3+build", "shop.test"]);
  assert.equal(S3_ENDPOINT_URL, "http://nyc3.spaces.test");
});

test("a service with secrets is told where they will be", () => {
  const [api] = site.services;
  const worker = {
    name: "mail",
    lang: "python-worker",
    handler: "mail",
    "run-cmd": "mail",
    secrets_config: "m.cfg",
  } as const;
  const { services } = renderSite(
    { ...site, services: [{ ...api, secrets_config: "a.cfg" } as never], workers: [worker] },
    release,
    surroundings,
  );
  assert.deepEqual(
    services.map(({ secrets, environment }) => [secrets, environment.SECRETS_CONFIG]),
    [
      ["a.cfg", "/run/tmp/chillbox_secrets/shop/api/a.cfg"],
      ["m.cfg", "/run/tmp/chillbox_secrets/shop/mail/m.cfg"],
    ],
  );
});

test("frozen chill keeps the port that a template may fall back to", () => {
  const frozen = (environment: { name: string; value: string }[]) => ({
    ...site,
    services: [{ name: "web", lang: "chill" as const, handler: "web", environment }],
  });
  const template = `${release.template}server { listen 80; server_name shop.test; location / { proxy_pass http://localhost:5000; } }`;
  const freeze = { name: "freeze", value: "true" };
  const withPort = frozen([freeze, { name: "CHILL_PORT", value: "5000" }]);
  const { services } = renderSite(withPort, { ...release, template }, surroundings);
  assert.throws(() => renderSite(frozen([freeze]), { ...release, template }, surroundings), /localhost:5000/);
  assert.throws(
    () =>
      checkPorts([
        { slug: "a", ports: portsOf(services) },
        { slug: "b", ports: portsOf(services) },
      ]),
    /both have port 5000/,
  );
});

test("what a site is decides its release, who deploys it and where does not", () => {
  const name = buildManifest(parts).release;
  const changed: [string, Partial<ManifestParts>, boolean][] = [
    ["who", { by: "you@desk" }, false],
    ["where", { server: "8" }, false],
    ["the key to download with", { spaces: { ...spaces, secretKey: "T" } }, false],
    ["domains", { site: { ...site, domains: ["shop.test"] } }, true],
    ["a variable in the template", { surroundings: { ...surroundings, immutableBucketHost: "x.test" } }, true],
    ["a service", { site: { ...site, services: [] } }, true],
    ["its Redis", { site: { ...site, redis: {} } }, true],
    ["its crontab", { site: { ...site, crontab: ["@daily true"] } }, true],
    ["the artifact", { release: { ...release, artifactDigest: "ce" } }, true],
    ["the artifact's bytes alone", { release: { ...release, artifactSha256: "ff" } }, false],
  ];
  for (const [what, change, differs] of changed) {
    assert.equal(buildManifest({ ...parts, ...change }).release !== name, differs, what);
  }
});

const withPort = (environment: { name: string; value: string }[]) => ({
  ...site,
  services: [{ name: "api", lang: "python" as const, handler: "api", environment }],
});
test("a service needs a port of its own", () => {
  const render = (environment: { name: string; value: string }[]) =>
    renderSite(withPort(environment), release, surroundings);
  assert.throws(() => render([]), { name: "UserError", message: /the service "api" has no PORT in its "environment"/ });
  for (const value of ["80", "x", "99999", "$UNKNOWN"]) {
    assert.throws(() => render([{ name: "PORT", value }]), {
      name: "UserError",
      message: /has the PORT ".*"\. Give one between/,
    });
  }
});

test("two services on one port are refused", () => {
  const { services } = renderSite(site, release, surroundings);
  assert.throws(
    () =>
      checkPorts([
        { slug: "shop", ports: portsOf(services) },
        { slug: "blog", ports: portsOf(services) },
      ]),
    {
      name: "UserError",
      message: '"shop api" and "blog api" both have port 8002. Give one of them another PORT.',
    },
  );
});

test("a name that nobody defines names file and line", () => {
  const bad = { ...release, template: "a\n$" + "{NOBODY}\n" };
  assert.throws(() => renderSite(site, bad, surroundings), {
    name: "UserError",
    message: /shop 1\.2\.3: shop\.nginx\.conf\.template:2: \$\{NOBODY\} is not defined/,
  });
});
