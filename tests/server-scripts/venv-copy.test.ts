import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { requirementsFile, wheelsFolder } from "../../lib/wheels.ts";
import { TestServer } from "./server.ts";

/** The virtual environment of a changed service, made out of the one before: the same as pip makes, or left to pip. */
const repository = resolve(import.meta.dirname, "../..");
const server = new TestServer();
const folder = mkdtempSync(join(tmpdir(), "chillbox-venv-copy-"));

/** Files of a service's folder by their paths; no text: the file is not there; "-> x": a link to x. */
type Files = Readonly<Record<string, string | undefined>>;

/** Files, and why that is left to pip. */
type Refusal = Files & { readonly why: string };

const project = (more = "", name = 'name = "app_api"', version = 'version = "1.0.0"') => `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
${name}
${version}
scripts = { greet = "app_api.app:main" }
[tool.setuptools]
packages = ["app_api"]
package-data = { app_api = ["*.txt"] }
${more}
`;
const application = (word: string) => `def main():\n    print("${word}")\n`;
/** A service with a package of its own and one that it needs, both with a command. */
const plain: Files = {
  "requirements.txt": "# From the folder beside it.\n--find-links ./wheels\ngunicorn==27.0.1\npackaging\n",
  "pyproject.toml": project(),
  "app_api/__init__.py": "",
  "app_api/app.py": application("one"),
  "app_api/empty.py": "",
  "app_api/words.txt": "one\n",
  "app_api/not-installed.md": "one\n",
};
const changedCode: Files = { "app_api/app.py": application("two") };
/** Beside a changed line of code: something else that is no mere copy. Each begins with `plain`. */
const refused: Readonly<Record<string, Refusal>> = {
  "another version": { why: "pyproject.toml changed", "pyproject.toml": project("", undefined, 'version = "1.0.1"') },
  "another command": { why: "pyproject.toml changed", "pyproject.toml": project().replace("greet", "shout") },
  "a new module": { why: "files were added or removed", "app_api/more.py": "" },
  "a module that is gone": { why: "files were added or removed", "app_api/empty.py": undefined },
  "new package data": { why: "files were added or removed", "app_api/more.txt": "one\n" },
  "a changed file that is not installed": {
    why: "app_api/not-installed.md changed, and is not simply copied",
    "app_api/not-installed.md": "two\n",
  },
  "other requirements": {
    why: "requirements.txt changed",
    "requirements.txt": "--find-links ./wheels\ngunicorn==27.0.1\n",
  },
  "a changed wheel": {
    why: "wheels/packaging-26.3-py3-none-any.whl changed",
    "wheels/packaging-26.3-py3-none-any.whl": "no wheel",
  },
  "code that cannot be compiled": { why: "app.py cannot be compiled", "app_api/app.py": "def main(:\n" },
  "a module that becomes a link": { why: "empty.py is a link", "app_api/empty.py": "-> app.py" },
};
/** What both the earlier and the next folder have beside `plain`; the next one has other code as well. */
const undeclared: Readonly<Record<string, Refusal>> = {
  "a version out of the code": {
    why: "pyproject.toml tells setuptools more than what to copy",
    "pyproject.toml": project(
      '[tool.setuptools.dynamic]\nversion = { attr = "app_api.app.VERSION" }',
      undefined,
      'dynamic = ["version"]',
    ),
    "app_api/app.py": `VERSION = "1"\n${application("one")}`,
  },
  "a setup.py that reads a file": {
    why: "setup.py works out description",
    "setup.py": 'from setuptools import setup\nsetup(description=open("app_api/app.py").readline())\n',
  },
  "a setup.py with code": {
    why: "setup.py does more than to call setup(), in line 1",
    "setup.py": "import os\nfrom setuptools import setup\nsetup()\n",
  },
  "a setup.cfg": {
    why: "setup.cfg takes part in the build",
    "setup.cfg": "[metadata]\ndescription = file: app_api/app.py\n",
  },
  "another builder": {
    why: "pyproject.toml does not build with setuptools alone",
    "pyproject.toml": project().replace('["setuptools"]', '["setuptools", "app-plugin"]'),
  },
  "a builder of its own": {
    why: "pyproject.toml does not build with setuptools alone",
    "pyproject.toml": project().replace("[project]", 'backend-path = ["."]\n[project]'),
  },
  "a requirement beside it": { why: "requirements.txt has './other' in it", "requirements.txt": "./other\n" },
  "a requirement from a list": {
    why: "requirements.txt has '-r app_api/words.txt' in it",
    "requirements.txt": "-r app_api/words.txt\n",
  },
  "packages that are not built": {
    why: "wheels/packaging-26.3.tar.gz is no wheel",
    "wheels/packaging-26.3.tar.gz": "x",
  },
  "code that is there twice": {
    why: "app_api/app.py changed, and is not simply copied",
    "copies/app_api/app.py": application("one"),
  },
  "what an earlier build left": {
    why: "build/lib/app_api/app.py takes part in the build",
    "build/lib/app_api/app.py": application("one"),
  },
  "code that is its own description": {
    why: "app_api/app.py changed",
    "pyproject.toml": project().replace("scripts", 'readme = "app_api/app.py"\nscripts'),
  },
  "scripts that are copied elsewhere": {
    why: "pyproject.toml tells setuptools more than what to copy",
    "pyproject.toml": project('script-files = ["app_api/app.py"]'),
  },
};

interface Outcome {
  readonly name: string;
  readonly copied: boolean;
  readonly said: string;
  readonly differs: string;
}
const outcomes = new Map<string, Outcome>();

before(
  async () => {
    await server.setUp();
    const site = join(folder, "site");
    lay(site, { "nginx/root/index.html": "hello\n" });
    const installed = await server.ssh("doas chillbox-site install", await server.manifest("app", site));
    assert.equal(installed.code, 0, installed.errors);
    await makeCases();
    cpSync(join(import.meta.dirname, "venv-copy.sh"), join(server.files, "venv-copy.sh"));
    const said = await server.ssh(
      "doas sh -c 'mkdir /var/cases && cd /var/cases && curl --silent http://198.18.200.1/cases.tar | tar -xo && curl --silent http://198.18.200.1/venv-copy.sh >../venv-copy && sh ../venv-copy app'",
      readFileSync(join(import.meta.dirname, "same-venv.py"), "utf8"),
    );
    assert.equal(said.code, 0, said.errors);
    for (const line of said.out.trim().split("\n")) {
      const outcome = JSON.parse(line) as Outcome;
      outcomes.set(outcome.name, outcome);
    }
  },
  { timeout: 240_000 },
);
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

for (const name of [
  "changed code",
  "changed code twice",
  "changed package data",
  "setup.py",
  "no package of its own",
]) {
  test(`${name}: the environment is the one that pip makes`, () => {
    const outcome = outcomes.get(name);
    assert.deepEqual(outcome, { name, copied: true, said: "", differs: "" });
  });
}

for (const [name, { why }] of [...Object.entries(refused), ...Object.entries(undeclared)]) {
  test(`${name}: that is left to pip`, () => {
    const said = `chillbox-venv-copy: pip is needed: ${why}\n`;
    assert.deepEqual(outcomes.get(name), { name, copied: false, said, differs: "" });
  });
}

async function makeCases(): Promise<void> {
  const wheels = await wheelsFolder(join(repository, requirementsFile("base")));
  const add = (name: string, earlier: Files, next: Files, built?: string) => {
    mkdirSync(join(folder, "cases", name), { recursive: true });
    if (built !== undefined) writeFileSync(join(folder, "cases", name, "built"), built);
    for (const [side, files] of Object.entries({ earlier, next })) {
      const target = join(folder, "cases", name, side);
      mkdirSync(join(target, "wheels"), { recursive: true });
      for (const wheel of readdirSync(wheels).filter((file) => /^(gunicorn|packaging)-/.test(file))) {
        cpSync(join(wheels, wheel), join(target, "wheels", wheel));
      }
      lay(target, files);
    }
  };
  const changed = { ...plain, ...changedCode };
  add("changed code", plain, changed);
  add("changed code twice", changed, {
    ...plain,
    "app_api/app.py": application("three"),
    "app_api/empty.py": "x = 1\n",
  });
  add("changed package data", plain, { ...plain, "app_api/words.txt": "two\n" });
  const setup = `"""Of the site."""
from setuptools import find_packages, setup

setup(
    name="app_api",
    version="1.0.0",
    package_dir={"": "src"},
    packages=find_packages("src"),
    install_requires=["gunicorn"],
    entry_points={"console_scripts": ["greet = app_api.app:main"]},
)
`;
  const source = { "setup.py": setup, "src/app_api/__init__.py": "", "src/app_api/app.py": application("one") };
  add("setup.py", source, { ...source, "src/app_api/app.py": application("two") });
  const bare = { "requirements.txt": plain["requirements.txt"], "app_api/app.py": application("one") };
  add("no package of its own", bare, { ...bare, ...changedCode, "app_api/more.py": "" });
  for (const [name, { why: _, ...files }] of Object.entries(refused)) {
    add(name, plain, { ...plain, ...changedCode, ...files }, "changed code");
  }
  for (const [name, { why: _, ...files }] of Object.entries(undeclared)) {
    const earlier = { ...plain, ...files };
    const code = String(earlier["app_api/app.py"]).replace("one", "two");
    add(name, earlier, { ...earlier, "app_api/app.py": code }, "changed code");
  }
  execFileSync("tar", ["-C", join(folder, "cases"), "-cf", join(server.files, "cases.tar"), "."]);
}

function lay(target: string, files: Files): void {
  for (const [path, text] of Object.entries(files)) {
    if (text === undefined) continue;
    mkdirSync(dirname(join(target, path)), { recursive: true });
    if (text.startsWith("-> ")) symlinkSync(text.slice(3), join(target, path));
    else writeFileSync(join(target, path), text);
  }
}
