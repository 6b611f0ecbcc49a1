import assert from "node:assert/strict";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { packFolder, readFolder } from "../../../lib/archive.ts";
import type { ServerPython } from "../../../lib/pip.ts";
import { type PipService, pipServices, proveWheels } from "../../../lib/service-wheels.ts";
import { temporaryFolder } from "./temporary-folder.ts";
import { makePackage, ownCache, startIndex } from "./tiny-packages.ts";

const folder = await temporaryFolder();
const repository = join(import.meta.dirname, "../../..");
const glibc: ServerPython = { python: "3.13", platforms: ["manylinux_2_41_x86_64", "manylinux_2_17_x86_64"] };
const musl: ServerPython = { python: "3.12", platforms: ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"] };

const environment = { ...process.env, XDG_CACHE_HOME: await ownCache(folder) };

/** Files of a service: text, or a package to be made (a wheel by its name, a source archive). */
type Files = Record<string, string | { readonly needs?: readonly string[] }>;

let number = 0;
/** The artifact of a site with the service "api" that has these files. */
async function artifactWith(files: Files): Promise<string> {
  const tree = join(folder, `tree-${++number}`);
  for (const [name, content] of Object.entries<Files[string]>({ "app.py": "x = 1\n", ...files })) {
    const path = join(tree, "api", name);
    await mkdir(dirname(path), { recursive: true });
    if (typeof content === "string") await writeFile(path, content.replaceAll("HASH(", `HASH(${tree}/api/`));
    else await makePackage(path, content.needs);
  }
  await fillInHashes(tree);
  const artifact = join(folder, `artifact-${number}.tar.gz`);
  await packFolder(tree, await readFolder(tree), artifact, "shop");
  return artifact;
}

/** HASH(dep/x.whl) in requirements.txt becomes the hash of that file. */
async function fillInHashes(tree: string): Promise<void> {
  const entries = await readFolder(tree);
  const path = join(tree, "api/requirements.txt");
  const text = await readFile(path, "utf8").catch(() => undefined);
  if (text === undefined) return;
  const hashOf = (file: string) => entries.find((entry) => join(tree, entry.path) === file)?.hash ?? "missing";
  await writeFile(
    path,
    text.replace(/HASH\(([^)]+)\)/g, (_, file: string) => `--hash=sha256:${hashOf(file)}`),
  );
}

async function prove(
  files: Files,
  changes: { server?: ServerPython; service?: Partial<PipService>; fetch?: string } = {},
) {
  return proveWheels({
    repository,
    slug: "shop",
    version: "1.0.0",
    artifactPath: await artifactWith(files),
    services: [{ name: "api", carried: ["base"], ...changes.service }],
    server: changes.server ?? glibc,
    fetchWheels: changes.fetch !== undefined,
    environment: { ...environment, ...(changes.fetch ? { PIP_INDEX_URL: changes.fetch, PIP_FIND_LINKS: "" } : {}) },
  });
}

const links = "--no-index\n--find-links ./dep\n";
const project = (...needs: string[]) =>
  `[project]\nname = "shop_api"\nversion = "1"\ndependencies = ${JSON.stringify(needs)}\n`;

const good: [string, Files, Parameters<typeof prove>[1]?][] = [
  ["nothing is required", {}],
  ["a comment is all there is", { "requirements.txt": "# nothing\n" }],
  [
    "pure wheels, one of which needs the other",
    {
      "requirements.txt": `${links}alpha==1.0\n`,
      "dep/alpha-1.0-py3-none-any.whl": { needs: ["beta>=2"] },
      "dep/beta-2.1-py3-none-any.whl": {},
    },
  ],
  [
    "binary wheels, of which one fits glibc",
    {
      "requirements.txt": `${links}alpha==1.0 HASH(dep/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl) HASH(dep/alpha-1.0-cp312-cp312-musllinux_1_2_x86_64.whl)\n`,
      "dep/alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.manylinux2014_x86_64.whl": {},
      "dep/alpha-1.0-cp312-cp312-musllinux_1_2_x86_64.whl": {},
    },
  ],
  [
    "a wheel with an old name of the platform",
    { "requirements.txt": `${links}alpha\n`, "dep/alpha-1.0-cp313-abi3-manylinux2014_x86_64.whl": {} },
  ],
  [
    "a stable ABI of an older Python on musl",
    { "requirements.txt": `${links}alpha\n`, "dep/alpha-1.0-cp38-abi3-musllinux_1_1_x86_64.whl": {} },
    { server: musl },
  ],
  [
    "a wheel built for any Linux",
    { "requirements.txt": `${links}alpha\n`, "dep/alpha-1.0-cp313-cp313-linux_x86_64.whl": {} },
  ],
  [
    "what is needed on other Pythons and platforms only",
    {
      "requirements.txt": `${links}alpha\ncolor; sys_platform == "win32"\ntimeout; python_version < "3.13"\nold; python_full_version < "3.11.3"\n`,
      "dep/alpha-1.0-py3-none-any.whl": {
        needs: ['backport; python_version < "3.13"', 'arm; platform_machine == "aarch64"'],
      },
    },
  ],
  [
    "a source archive, which the server builds",
    {
      "requirements.txt": `${links}alpha==1.0 HASH(dep/alpha-1.0.tar.gz)\nbeta==2.1 HASH(dep/beta-2.1-py3-none-any.whl)\n`,
      "dep/alpha-1.0.tar.gz": { needs: ["beta"] },
      "dep/beta-2.1-py3-none-any.whl": {},
    },
  ],
  [
    "what chillbox carries",
    { "requirements.txt": "gunicorn\nsetuptools<82\n", "pyproject.toml": project("gunicorn>=20") },
  ],
  [
    "a hashed package that needs what chillbox carries",
    {
      "requirements.txt": `${links}alpha==1.0 HASH(dep/alpha-1.0-py3-none-any.whl)\n`,
      "dep/alpha-1.0-py3-none-any.whl": { needs: ["packaging"] },
    },
  ],
  [
    "another version of what chillbox carries, in the release",
    { "requirements.txt": `${links}gunicorn==21.0\n`, "dep/gunicorn-21.0-py3-none-any.whl": {} },
  ],
  ["uvicorn for its worker class", { "requirements.txt": "uvicorn\n" }, { service: { carried: ["base", "asgi"] } }],
  [
    "the own folder needs what requirements.txt brings",
    {
      "requirements.txt": `${links}alpha\n`,
      "dep/alpha-1.0-py3-none-any.whl": {},
      "pyproject.toml": project("alpha>=1"),
    },
  ],
  [
    "a build backend that the release brings",
    {
      "requirements.txt": `${links}flit_core\n`,
      "dep/flit_core-3.9-py3-none-any.whl": {},
      "pyproject.toml": `[build-system]\nrequires = ["flit_core<4"]\nbuild-backend = "flit_core.buildapi"\n`,
    },
  ],
  [
    "a wheel and a folder by their paths",
    {
      "requirements.txt": "./dep/alpha-1.0-py3-none-any.whl\n-e ./lib\n./lib\n",
      "dep/alpha-1.0-py3-none-any.whl": {},
      "lib/setup.py": "",
    },
  ],
  [
    "requirements in another file, with constraints",
    {
      "requirements.txt": "-r more/base.txt\n-c limits.txt\n",
      "more/base.txt": "--find-links ../dep\nalpha\n",
      "limits.txt": "alpha<2\n",
      "dep/alpha-1.0-py3-none-any.whl": {},
    },
  ],
];
for (const [what, files, changes] of good) {
  test(`proven: ${what}`, async () => assert.deepEqual(await prove(files, changes), []));
}

const bad: [string, Files, RegExp, Parameters<typeof prove>[1]?][] = [
  [
    "a package without a file",
    { "requirements.txt": `${links}alpha==1.0\n`, "dep/beta-1.0-py3-none-any.whl": {} },
    /^shop 1\.0\.0: the service "api" cannot be installed on the server \(Python 3\.13 on manylinux_2_41_x86_64\): it lacks alpha==1\.0, which requirements\.txt asks for\. The release has no file of it\. .*pip download .*--python-version 3\.13 --platform manylinux_2_17_x86_64 .*pulumi config set fetchWheels true$/,
  ],
  [
    "a binary wheel for another platform",
    { "requirements.txt": `${links}alpha==1.0\n`, "dep/alpha-1.0-cp312-cp312-manylinux_2_17_x86_64.whl": {} },
    /lacks alpha==1\.0.* The release has dep\/alpha-1\.0-cp312-cp312-manylinux_2_17_x86_64\.whl, which is for another version, Python or platform/,
    { server: musl },
  ],
  [
    "a binary wheel for another Python",
    { "requirements.txt": `${links}alpha==1.0\n`, "dep/alpha-1.0-cp311-cp311-manylinux_2_17_x86_64.whl": {} },
    /lacks alpha==1\.0.*cp311/,
  ],
  [
    "a wheel for a newer C library",
    { "requirements.txt": `${links}alpha==1.0\n`, "dep/alpha-1.0-cp313-cp313-manylinux_2_42_x86_64.whl": {} },
    /lacks alpha==1\.0.*manylinux_2_42/,
  ],
  [
    "a package that another one needs",
    { "requirements.txt": `${links}alpha\n`, "dep/alpha-1.0-py3-none-any.whl": { needs: ["beta>=2"] } },
    /it lacks beta>=2/,
  ],
  [
    "a wrong hash",
    {
      "requirements.txt": `${links}alpha==1.0 --hash=sha256:${"0".repeat(64)}\n`,
      "dep/alpha-1.0-py3-none-any.whl": {},
    },
    /has not the hash that requirements\.txt names[\s\S]*alpha==1\.0[\s\S]*Expected sha256 0{64}[\s\S]*Got +[0-9a-f]{64}/,
  ],
  [
    "two that exclude each other",
    {
      "requirements.txt": `${links}alpha==1.0\nalpha==2.0\n`,
      "dep/alpha-1.0-py3-none-any.whl": {},
      "dep/alpha-2.0-py3-none-any.whl": {},
    },
    /pip does not take requirements\.txt/,
  ],
  [
    "the own folder needs what is in the release but not in requirements.txt",
    {
      "requirements.txt": `${links}alpha\n`,
      "dep/alpha-1.0-py3-none-any.whl": {},
      "dep/beta-1.0-py3-none-any.whl": {},
      "pyproject.toml": project("beta"),
    },
    /it lacks beta, which its pyproject\.toml or setup\.cfg asks for\. It has to be installed before: name it in requirements\.txt/,
  ],
  [
    "a build backend that nobody brings",
    { "pyproject.toml": `[build-system]\nrequires = ["hatchling>=1"]\nbuild-backend = "hatchling.build"\n` },
    /it lacks hatchling/,
  ],
  [
    "a pyproject.toml that cannot be read",
    { "pyproject.toml": "[project\n" },
    /the service "api": pyproject\.toml: .*line 1/,
  ],
  ["uvicorn without its worker class", { "requirements.txt": "uvicorn\n" }, /it lacks uvicorn/],
  [
    "a worker class whose package is not brought",
    {},
    /has the worker class gevent, but its requirements\.txt does not bring gevent/,
    { service: { needs: "gevent" } },
  ],
  [
    "a URL",
    { "requirements.txt": "alpha @ https://example.invalid/alpha-1.0-py3-none-any.whl\n" },
    /pip does not take requirements\.txt/,
  ],
];
for (const [what, files, problem, changes] of bad) {
  test(`refused: ${what}`, async () => {
    await assert.rejects(prove(files, changes), { name: "UserError", message: problem });
  });
}

test("fetchWheels adds what is missing, for the server, and leaves what the release has", async () => {
  const right = "alpha-1.0-cp313-cp313-manylinux_2_17_x86_64.whl";
  const index = await startIndex(folder, [
    right,
    "alpha-1.0-cp312-cp312-musllinux_1_2_x86_64.whl",
    "alpha-2.0-py3-none-any.whl",
    "beta-9.0-py3-none-any.whl",
  ]);
  const files: Files = {
    "requirements.txt": `${links}alpha\nbeta\n`,
    "dep/alpha-1.0-cp311-cp311-manylinux_2_17_x86_64.whl": {},
    "dep/beta-1.0-py3-none-any.whl": {},
  };
  const fetched = await prove(files, { fetch: index.url });
  assert.deepEqual(
    fetched.map(({ service, path }) => [service, path.slice(path.lastIndexOf("/") + 1)]),
    [["api", right]],
  );
  index.asked.length = 0;
  assert.deepEqual(await prove({ ...files, "app.py": "y = 2\n" }, { fetch: index.url }), fetched);
  assert.deepEqual(index.asked, [], "what was fetched once is in the cache");
});

test("fetchWheels keeps to the hashes of requirements.txt", async () => {
  const index = await startIndex(folder, ["alpha-1.0-py3-none-any.whl"]);
  const requirements = `alpha==1.0 --hash=sha256:${"0".repeat(64)}\n`;
  await assert.rejects(prove({ "requirements.txt": requirements }, { fetch: index.url }), /hash|lacks alpha/i);
});

test("fetchWheels says so when the index has none either", async () => {
  const index = await startIndex(folder, ["alpha-1.0-cp311-cp311-win_amd64.whl"]);
  await assert.rejects(
    prove({ "requirements.txt": "alpha==1.0\n" }, { fetch: index.url }),
    /lacks alpha==1\.0.*The package index has none either/,
  );
});

test("what is proven is not tried again, and what changes is", async () => {
  const files = { "requirements.txt": `${links}alpha\n`, "dep/alpha-7.0-py3-none-any.whl": {} };
  const proofs = join(environment.XDG_CACHE_HOME, "chillbox/wheels/proofs");
  await prove(files);
  const before = await readdir(proofs);
  await prove({ ...files, "app.py": "x = 2\n", "templates/index.html": "page\n" });
  assert.deepEqual(await readdir(proofs), before);
  await prove({ ...files, "dep/alpha-7.1-py3-none-any.whl": {} });
  await prove(files, { server: musl });
  assert.equal((await readdir(proofs)).length, before.length + 2);
});

test("the services that pip installs, and what they find", () => {
  const entries = [
    { name: "assets", lang: "immutable" },
    { name: "api", lang: "python", worker_class: "uvicorn.workers.UvicornWorker" },
    { name: "old", lang: "python", worker_class: "gevent" },
    { name: "jobs", lang: "python-worker" },
    { name: "pages", lang: "chill" },
  ];
  assert.deepEqual(pipServices(entries), [
    { name: "api", carried: ["base", "asgi"] },
    { name: "old", carried: ["base"], needs: "gevent" },
    { name: "jobs", carried: ["base"] },
    { name: "pages", carried: ["base", "chill"] },
  ]);
});
