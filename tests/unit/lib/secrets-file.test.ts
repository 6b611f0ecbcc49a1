import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import fc from "fast-check";
import { fillOnce, isThere } from "../../../lib/fill-once.ts";
import { runPip } from "../../../lib/pip.ts";
import { renderSecretsFile, secretsFormat } from "../../../lib/secrets-file.ts";
import { carriedSet, wheelsFolder } from "../../../lib/wheels.ts";

type Keys = Readonly<Record<string, string>>;

const server = { python: "3.13", platforms: ["manylinux_2_36_x86_64"] };
const folder = mkdtempSync(join(tmpdir(), "chillbox-secrets-file-"));
let dotenv = "";

before(async () => {
  const requirements = join(import.meta.dirname, "dotenv-requirements.txt");
  dotenv = await wheelsFolder(requirements);
  if (await isThere(dotenv)) return;
  const wheels = await carriedSet("base", { repository: join(import.meta.dirname, "../../.."), server });
  await fillOnce(dotenv, async (temporary) => {
    const words = ["download", "--quiet", "--require-hashes", "--no-deps", "--dest", temporary, "-r", requirements];
    const { code, errors } = await runPip(words, { wheels, server, network: true });
    assert.equal(code, 0, errors);
  });
});
after(() => rmSync(folder, { recursive: true }));

/** What each reader gives back for many files, in one process of it. */
function readBack(files: readonly { keys: Keys; path: string }[], program: string, arguments_: string[] = []): unknown {
  const list = files.map(({ path, keys }) => ({ path, names: Object.keys(keys) }));
  return JSON.parse(
    execFileSync("python3", ["-IS", "-c", program, ...arguments_], {
      input: JSON.stringify(list),
      maxBuffer: 1e9,
    }).toString(),
  );
}

// As Flask's from_pyfile does.
const readPython = `
import json, sys, types
def read(path):
    module = types.ModuleType("config")
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    return {key: getattr(module, key) for key in dir(module) if key.isupper()}
print(json.dumps([read(each["path"]) for each in json.load(sys.stdin)]))`;
const readToml = `
import json, sys, tomllib
print(json.dumps([tomllib.load(open(each["path"], "rb")) for each in json.load(sys.stdin)]))`;
const readJson = `
import json, sys
print(json.dumps([json.load(open(each["path"], "rb")) for each in json.load(sys.stdin)]))`;
const readDotenv = `
import glob, json, sys
sys.path[:0] = glob.glob(sys.argv[1] + "/*.whl")
import dotenv
print(json.dumps([dict(dotenv.dotenv_values(each["path"])) for each in json.load(sys.stdin)]))`;
// A shell of its own for each file: none sees what another has set.
const readShell = `
import json, subprocess, sys
def read(path, names):
    words = ["sh", "-euc", '. "$0"; for name; do eval "printf \\'%s\\\\\\\\0\\' \\\\"\\\\\${$name}\\\\""; done', path, *names]
    out = subprocess.run(words, check=True, stdout=subprocess.PIPE, env={"PATH": "/usr/bin:/bin"}).stdout.decode()
    return dict(zip(names, out.split("\\0")))
print(json.dumps([read(each["path"], each["names"]) for each in json.load(sys.stdin)]))`;

const nasty = [
  "",
  " ",
  "  both ends\t",
  "a\nb\n",
  "a\r\nb\r",
  "it's",
  'say "no"',
  `'"'"'`,
  "#no=comment # yes",
  "$HOME $(id) `id` $$ $1",
  "back\\slash \\n \\\\ \\x41 \\u0041",
  "\\'",
  '\\"',
  "\u0001\u0007\u001b\u007f\u0085\u2028\u2029\ufeff",
  "grüße, 漢字, 🐘",
  "=",
  "'''",
  '"""',
  "export A=1",
  "!history",
  "%s %(x)s {x}",
  "~",
  "*",
];

/** Values of every kind: made of what some reader or other gives a meaning to, and of any characters at all. */
const value = fc.oneof(
  fc.constantFrom(...nasty),
  fc.string({ unit: fc.constantFrom("'", '"', "\\", "$", "{", "}", "`", "#", "=", " ", "\n", "\r", "\t", "a", "n") }),
  fc.string({ unit: "binary" }),
);
const name = fc.stringMatching(/^[A-Z][A-Z0-9_]{0,8}$/).map((text) => `K_${text}`);
const keys = fc.dictionary(name, value, { maxKeys: 6, noNullPrototype: true });

function checkFormat(ending: string, program: string, arguments_: () => string[] = () => [], runs = 400): void {
  test(`${ending || "any other file"}: its own reader gives back every value, byte for byte`, () => {
    const { valueProblem } = secretsFormat(`secrets${ending}`);
    const samples = [
      ...nasty.map((each) => ({ KEY: each, OTHER: "x" })),
      Object.fromEntries(nasty.map((each, index) => [`KEY_${index}`, each])),
      ...fc.sample(keys, { numRuns: runs, seed: 5 }),
    ].map((sample) => Object.fromEntries(Object.entries(sample).filter(([, text]) => !valueProblem(text))));
    const files = samples.map((sample, index) => {
      const path = join(folder, `${index}${ending}`);
      writeFileSync(path, renderSecretsFile(path, sample));
      return { keys: sample, path };
    });
    const found = readBack(files, program, arguments_()) as Keys[];
    for (const [index, sample] of samples.entries()) {
      const written = readFileSync(files[index]?.path ?? "", "utf8");
      assert.deepEqual(found[index], sample, `of this file:\n${written}`);
    }
  });
}

checkFormat(".json", readJson);
checkFormat(".toml", readToml);
checkFormat(".cfg", readPython);
checkFormat("", readPython);
checkFormat(".sh", readShell, undefined, 100);
checkFormat(".env", readDotenv, () => [dotenv]);

test("only what a kind of file cannot hold is refused", () => {
  const refused = (file: string) =>
    [...nasty, "a\0", "\ud800", "\u0024{A}", "\\"].filter(secretsFormat(file).valueProblem);
  assert.deepEqual(refused("a.json"), ["\ud800"]);
  assert.deepEqual(refused("a.toml"), ["\ud800"]);
  assert.deepEqual(refused("a.cfg"), ["\ud800"]);
  assert.deepEqual(refused("a.sh"), ["a\0", "\ud800"]);
  assert.deepEqual(refused("a.env"), ["a\0", "\ud800", "\u0024{A}", "\\"]);
});

test("a .env file can be read by a shell, too, unless a value has a quote, a backslash or a carriage return", () => {
  const plain = Object.fromEntries(nasty.filter((text) => !/['\\\r]/.test(text)).map((text, i) => [`K_${i}`, text]));
  const path = join(folder, "plain.env");
  writeFileSync(path, renderSecretsFile(path, plain));
  assert.deepEqual(readBack([{ keys: plain, path }], readShell), [plain]);
});

test("the kind of file follows from the ending of its name", () => {
  const text = (file: string) => renderSecretsFile(file, { B: "2", A: "1" });
  assert.equal(text("api.secrets.cfg"), 'A = "1"\nB = "2"\n');
  assert.equal(text(".env"), "A='1'\nB='2'\n");
  assert.equal(text("secrets.JSON"), '{\n  "A": "1",\n  "B": "2"\n}\n');
});
