import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, it } from "node:test";
import { advisoriesFolder } from "../../../lib/analysis/advisories.ts";
import { type Analysis, analyseRelease, judge } from "../../../lib/analysis/analyse.ts";
import { findBadLines } from "../../../lib/analysis/nginx-lines.ts";
import { compareVersions, packageOfFile, pinnedPackages } from "../../../lib/analysis/packages.ts";
import { type AnalysisSettings, defaultAnalysis, readAnalysis } from "../../../lib/analysis/settings.ts";
import { buildRelease, type Release } from "../../../lib/release.ts";
import type { SiteFile } from "../../../lib/site-file.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const environment = { ...process.env, XDG_CACHE_HOME: join(folder, "cache") };

// Put together here, so that nobody who searches this repository takes them for real.
const accessKeyId = ["AKIA", "Q3EGUZ5TKJ7LMNOP"].join("");
const secretKey = ["wJalrXUtnFEMI/K7MDENG", "/bPxRfiCYzLKJHGFDSA"].join("");

/** PyPI's JSON API as it answers for this version, but for what nobody reads here: https://docs.pypi.org/api/json/ */
const jinja = {
  info: { name: "Jinja2", version: "2.4.1", yanked: false },
  last_serial: 1,
  urls: [],
  vulnerabilities: [
    {
      aliases: ["CVE-2014-1402", "GHSA-8r7q-cvjq-x353"],
      details:
        "The default configuration for bccache.FileSystemBytecodeCache in Jinja2 before 2.7.2 does not properly create temporary files. More follows.",
      fixed_in: ["2.7.2"],
      id: "PYSEC-2014-8",
      link: "https://osv.dev/vulnerability/PYSEC-2014-8",
      source: "osv",
      summary: null,
      withdrawn: null,
    },
    {
      aliases: ["CVE-2019-10906"],
      details: "In Pallets Jinja before 2.10.1, str.format_map allows a sandbox escape.",
      fixed_in: ["2.10.1"],
      id: "PYSEC-2019-217",
      link: "https://osv.dev/vulnerability/PYSEC-2019-217",
      source: "osv",
      summary: "",
      withdrawn: null,
    },
    { aliases: [], details: "A mistake.", fixed_in: [], id: "PYSEC-0-0", withdrawn: "2022-01-01T00:00:00Z" },
  ],
};
const asked: string[] = [];
let answers: Record<string, unknown> = {};
/** Whether the source keeps everybody waiting. */
let hangs = false;
const server = createServer(({ url = "" }, response) => {
  asked.push(url);
  if (hangs) return;
  const answer = answers[url];
  response.writeHead(answer === undefined ? 404 : 200, { "content-type": "application/json" });
  response.end(JSON.stringify(answer ?? { message: "Not Found" }));
});
await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
after(() => server.close());
const source = `http://127.0.0.1:${(server.address() as AddressInfo).port}/pypi`;
const settings: AnalysisSettings = { ...defaultAnalysis, advisories: source };
const kept = advisoriesFolder(source, environment);

const site = {
  slug: "shop",
  path: join(folder, "shop.site.json"),
  serverName: "shop.test",
  domains: ["shop.test"],
  release: "./shop",
  env: [],
  services: [{ name: "assets", lang: "immutable", handler: "assets" }],
  workers: [],
} as unknown as SiteFile;
const artifactsFolder = join(folder, "artifacts");
const makefile = `
all:
	mkdir -p dist/a/shop/nginx/templates dist/i/shop
	cp -R api dist/a/shop/
	cp template dist/a/shop/nginx/templates/shop.nginx.conf.template
	mkdir -p dist/i/shop/assets/0123456789abcdef
	echo 0123456789abcdef >dist/i/shop/assets/hash.txt
	cp api/app.py dist/i/shop/assets/0123456789abcdef/app.js
	tar -C dist/a -czf dist/artifact.tar.gz shop
	tar -C dist/i -czf dist/immutable.tar.gz shop
inspect.VERSION:
	@cat VERSION
`;
let version = 0;

/** A site's release with these files besides the usual ones. */
async function release(files: Record<string, string> = {}): Promise<Release> {
  version += 1;
  const all = {
    Makefile: makefile,
    VERSION: `1.0.${version}\n`,
    template: "server {\n}\n",
    "api/app.py": "print(1)\n",
  };
  for (const [path, text] of Object.entries({ ...all, ...files })) {
    const file = join(folder, "shop", path);
    await mkdir(join(file, ".."), { recursive: true });
    await writeFile(file, text);
  }
  return buildRelease(site, { artifactsFolder });
}

const analyse = (built: Release, changes: Partial<AnalysisSettings> = {}) =>
  analyseRelease(built, { settings: { ...settings, ...changes }, environment });
const ids = ({ findings }: Analysis) => findings.map(({ id, where }) => `${id} ${where}`);

beforeEach(() => {
  answers = { "/pypi/jinja2/2.4.1/json": jinja };
});
afterEach(async () => {
  hangs = false;
  asked.length = 0;
  await rm(join(folder, "shop"), { recursive: true, force: true });
  await rm(join(folder, "cache"), { recursive: true, force: true });
});

describe("a release", () => {
  it("has its packages, secrets and nginx lines looked at, each with the way out", async () => {
    const built = await release({
      "api/requirements.txt": "# what it needs\nJinja2==2.4.1\nflask>=2\nown-thing==0.1 ; python_version > '3'\n",
      "api/config.py": `X = 1\nAWS_SECRET_ACCESS_KEY = "${secretKey}"\n`,
      template: "server {\n  server_tokens on;\n}\n",
    });
    const analysis = await analyse(built);
    assert.deepEqual(ids(analysis), [
      "PYSEC-2014-8 api/requirements.txt",
      "PYSEC-2019-217 api/requirements.txt",
      "aws:api/config.py api/config.py:2",
      "nginx:told-version nginx/templates/shop.nginx.conf.template:2",
    ]);
    const lines: string[] = [];
    judge([analysis], settings, (line) => lines.push(line));
    assert.equal(
      lines[0],
      `warning: shop ${built.version}: api/requirements.txt has jinja2 2.4.1, which has a known fault: The default configuration for ` +
        "bccache.FileSystemBytecodeCache in Jinja2 before 2.7.2 does not properly create temporary… (CVE-2014-1402). Raise it to 2.7.2 or newer. [PYSEC-2014-8]",
    );
    assert.match(lines[2] ?? "", /AWSSecretAccessKey\)\. Take it out of the release/);
    assert.deepEqual(analysis.notes, [], "a package of one's own need not be known");
    assert.ok(!JSON.stringify([analysis, lines]).includes(secretKey), "the secret itself is told to nobody");
    for (const name of await readdir(join(artifactsFolder, "shop/.analysis"))) {
      assert.ok(!(await readFile(join(artifactsFolder, "shop/.analysis", name), "utf8")).includes(secretKey));
    }
  });

  it("is looked at once: with the same files and fresh answers nothing is asked or started", async () => {
    const built = await release({ "api/requirements.txt": "jinja2==2.4.1\n" });
    const first = await analyse(built);
    assert.equal(asked.length, 1);
    // Who starts a process without a PATH or a program fails.
    const { execPath } = process;
    process.execPath = "/nonexistent";
    try {
      assert.deepEqual(await analyse(built), first);
    } finally {
      process.execPath = execPath;
    }
    assert.equal(asked.length, 1);
    const changed = await release({ "api/requirements.txt": "jinja2==2.4.1\n", "api/app.py": "print(2)\n" });
    assert.deepEqual(ids(await analyse(changed)), ids(first));
    assert.equal(asked.length, 1, "the same packages are not asked about again");
  });

  it("has its immutable files looked at, which everybody may read", async () => {
    const built = await release({ "api/app.py": `key = "${accessKeyId}"\n` });
    assert.deepEqual(ids(await analyse(built)), [
      "aws:api/app.py api/app.py:1",
      "aws:immutable/assets/app.js immutable/assets/app.js:1",
    ]);
  });

  it("finds a planted key, and leaves out what a comment means to be there", async () => {
    const built = await release({
      "api/deploy.sh": `export AWS_ACCESS_KEY_ID=${accessKeyId}\n`,
      "api/test.py": `key = "${accessKeyId}"  # secretlint-disable-line\n`,
    });
    assert.deepEqual(ids(await analyse(built)), ["aws:api/deploy.sh api/deploy.sh:1"]);
  });

  it("stops where config says so, and tells what is only a warning", async () => {
    const built = await release({
      "api/config.py": `KEY = "${accessKeyId}"\n`,
      template: "server {\n  autoindex on;\n}\n",
    });
    const analysis = await analyse(built);
    const strict: AnalysisSettings = { ...settings, secrets: "fail" };
    const lines: string[] = [];
    assert.throws(() => judge([analysis], strict, (line) => lines.push(line)), {
      name: "UserError",
      message:
        /api\/config\.py:1 has what looks like a secret.*\[aws:api\/config\.py\]\nNothing was deployed.*"ignore"/,
    });
    assert.match(lines.join("\n"), /^warning: .*nginx:folder-lists\]$/);
  });

  it("is spared what config ignores, by id or alias, for one site or all, and what is off", async () => {
    const built = await release({
      "api/requirements.txt": "jinja2==2.4.1\n",
      "api/config.py": `KEY = "${accessKeyId}"\n`,
    });
    const reason = "looked at";
    const ignore = [
      { id: "CVE-2014-1402", reason },
      { id: "PYSEC-2019-217", reason, site: "other" },
      { id: "aws:api/config.py", reason, site: "shop" },
    ];
    assert.deepEqual(ids(await analyse(built, { ignore })), ["PYSEC-2019-217 api/requirements.txt"]);
    assert.deepEqual(ids(await analyse(built, { secrets: "off", packages: "off" })), []);
  });
});

describe("advisories", () => {
  const requirements = { "api/requirements.txt": "jinja2==2.4.1\n" };
  /** Makes what is kept as old as that. */
  async function age(days: number): Promise<void> {
    const path = join(kept, "jinja2-2.4.1.json");
    const answer = JSON.parse(await readFile(path, "utf8"));
    answer.asked = new Date(Date.now() - days * 86_400_000).toISOString();
    await writeFile(path, JSON.stringify(answer));
  }

  it("are asked for again after a day", async () => {
    const built = await release(requirements);
    await analyse(built);
    await age(2);
    answers = { "/pypi/jinja2/2.4.1/json": { vulnerabilities: [] } };
    assert.deepEqual((await analyse(built)).findings, []);
    assert.equal(asked.length, 2);
  });

  it("are used however old without the network, and how old is told", async () => {
    const built = await release(requirements);
    await analyse(built);
    await age(5);
    hangs = true;
    const began = Date.now();
    const analysis = await analyse(built);
    assert.equal(analysis.findings.length, 2);
    assert.deepEqual(analysis.notes, ["what is known of its packages is 5 days old (no answer within 3 s)"]);
    const waited = Date.now() - began;
    assert.deepEqual(await analyse(built), analysis);
    assert.equal(asked.length, 2, "a source that did not answer is left alone for a while");
    assert.ok(Date.now() - began - waited < waited);
  });

  it("that nobody could be asked for are told, and stop nothing", async () => {
    const nobody = { advisories: "http://127.0.0.1:99/pypi", packages: "fail" } as const;
    const analysis = await analyse(await release(requirements), nobody);
    assert.deepEqual(analysis.notes, ["nobody could be asked about known faults of jinja2 2.4.1 (ECONNREFUSED)"]);
    judge([analysis], { ...settings, ...nobody });
  });

  it("of a mirror that has none are not taken for good news", async () => {
    answers = {};
    const { notes } = await analyse(await release(requirements));
    assert.deepEqual(notes, [
      "the source of advisories knows none of its packages: is it a mirror without PyPI's JSON API?",
    ]);
  });
});

describe("packages", () => {
  it("are read from wheels, source archives and requirements", () => {
    const version = (path: string) => {
      const found = packageOfFile(path);
      return found && `${found.name} ${found.version}`;
    };
    assert.equal(version("api/dep/Flask_Login-0.6.3-py3-none-any.whl"), "flask-login 0.6.3");
    assert.equal(version("api/dep/lxml-5.3.0-1-cp313-cp313-musllinux_1_2_x86_64.whl"), "lxml 5.3.0");
    assert.equal(version("api/dep/zope.interface-7.2.tar.gz"), "zope-interface 7.2");
    assert.equal(version("api/photo-1.png"), undefined);
    const text =
      'a==1.0 \\\n  --hash=sha256:00\nB.b[extra] == 2rc1 ; os_name=="posix"\nc>=3\nd===4.post1#x\n# e==5\nf==6.*\n-r g==7.txt\n';
    assert.deepEqual(
      pinnedPackages(text, "r.txt").map(({ name, version }) => `${name} ${version}`),
      ["a 1.0", "b-b 2rc1", "d 4.post1"],
    );
  });

  it("have versions that are ordered by numbers", () => {
    assert.ok(compareVersions("2.10.1", "2.4.1") > 0);
    assert.ok(compareVersions("1!1.0", "1.0") === 0 && compareVersions("1.0rc1", "1") === 0);
  });
});

describe("config's analysis", () => {
  const read = (value: unknown) => {
    const problems: string[] = [];
    const settings = readAnalysis(value, (key, problem, what) => problems.push(`${key} ${problem}: ${what}`));
    return { settings, problems };
  };
  it("is whole without a word", () => {
    assert.deepEqual(read({}), { settings: defaultAnalysis, problems: [] });
    const ignore = [{ id: "PYSEC-1-1", reason: "not used" }];
    assert.deepEqual(read({ nginx: "fail", ignore }).settings, { ...defaultAnalysis, nginx: "fail", ignore });
  });
  for (const [value, problem] of [
    [{ secret: "fail" }, /^\.secret is not known: "secrets"$/],
    [{ nginx: "stop" }, /^\.nginx is "stop": one of warn, fail, off$/],
    [{ ignore: [{ id: "PYSEC-1-1" }] }, /^\.ignore has something else: .*"reason"/],
    [{ advisories: "ftp://x" }, /^\.advisories is "ftp:\/\/x"/],
    ["fail", /^ is no object/],
  ] as const) {
    it(`refuses ${JSON.stringify(value)}`, () => assert.match(read(value).problems.join("\n"), problem));
  }
});

describe("a bad nginx line", () => {
  const location = (text: string) => `server {\n location / {\n${text}\n }\n}`;
  const table: [rule: string, bad: string, good: string][] = [
    ["header-injection", "return 301 https://$host$uri;", "return 301 https://$host$request_uri;"],
    ["header-injection", "rewrite ^ https://b.test$uri permanent;", "rewrite ^/a/(.*)$ /b/$1 permanent;"],
    ["header-injection", "add_header X-Path $document_uri always;", "try_files $uri $uri/index.html =404;"],
    ["decoded-proxy-path", "proxy_pass http://127.0.0.1:$API_PORT$uri;", "proxy_pass http://127.0.0.1:$API_PORT;"],
    ["if-in-location", "if ($request_method = POST) { proxy_pass http://127.0.0.1:1; }", "if ($x) { return 405; }"],
    ["forged-host", "proxy_set_header Host $http_host;", "proxy_set_header Host $host;"],
    [
      "forged-address",
      "proxy_set_header X-Forwarded-For $http_x_forwarded_for;",
      "proxy_set_header X-Real-IP $remote_addr;",
    ],
    ["forged-address", "set_real_ip_from 0.0.0.0/0;", "set_real_ip_from 10.0.0.0/8;"],
    [
      "any-origin",
      "add_header Access-Control-Allow-Origin $http_origin;",
      'add_header Access-Control-Allow-Origin "*";',
    ],
    [
      "loose-origin",
      "if ($http_origin ~ https://example\\.com) { set $c 1; }",
      "if ($http_origin ~ ^https://example\\.com$) { set $c 1; }",
    ],
    ["open-allow", "allow 10.0.0.0/8;", "allow 10.0.0.0/8; deny all;"],
    ["return-before-access", "auth_basic x; return 200 secret;", "auth_basic off; return 200 open;"],
    [
      "cached-cookies",
      "proxy_cache var_cache_nginx; proxy_ignore_headers Set-Cookie;",
      "proxy_cache var_cache_nginx; proxy_ignore_headers Set-Cookie; proxy_hide_header Set-Cookie;",
    ],
    ["second-content-type", "add_header Content-Type text/plain;", "default_type text/plain;"],
    ["folder-lists", "autoindex on;", "autoindex off;"],
    ["told-version", "server_tokens on;", "server_tokens off;"],
    ["endless-body", "client_max_body_size 0;", "client_max_body_size 50m;"],
    ["odd-headers", "ignore_invalid_headers off;", "ignore_invalid_headers on;"],
  ];
  for (const [rule, bad, good] of table) {
    it(`is found: ${bad}`, () => {
      assert.deepEqual(
        findBadLines(location(bad)).map(({ rule, line }) => [rule, line]),
        [[rule, 3]],
      );
      assert.deepEqual(findBadLines(location(good)), []);
    });
  }

  it("is one that loses headers of the block around, told once for each block", () => {
    const text = (inner: string) => `server {\n add_header A 1;\n add_header b 2;\n location / {\n${inner}\n }\n}`;
    const found = findBadLines(text("add_header C 3;\nadd_header a 4;"));
    assert.deepEqual(
      found.map(({ rule, line, what }) => [rule, line, what.slice(-5)]),
      [["lost-headers", 5, "re: b"]],
    );
    assert.deepEqual(findBadLines(text("add_header a 3; add_header B 4; add_header C 5;")), []);
    assert.deepEqual(findBadLines(text("autoindex off;")), []);
  });

  it("is in none of the examples' templates, nor in a text that cannot be read", async () => {
    const template = await readFile(
      new URL("../../../sites/hello/nginx/hello.nginx.conf.template", import.meta.url),
      "utf8",
    );
    assert.deepEqual(findBadLines(template), []);
    assert.deepEqual(findBadLines("server {"), []);
  });
});
