import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readArchive } from "../../../lib/archive.ts";
import { childEnvironment, localCommandLine } from "../../../lib/child-environment.ts";
import { packServerScripts } from "../../../lib/server-scripts.ts";
import { UserError } from "../../../lib/user-error.ts";
import { wheelsFolder } from "../../../lib/wheels.ts";
import { groupByZone } from "../../../lib/zones.ts";
import { contentType } from "../../../local-commands/spaces.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const repository = join(import.meta.dirname, "../../..");

test("an error shows what a terminal would not show, or would obey", () => {
  const { message } = new UserError("a.site.json: \x1b[2J\u202e\0 \ud800 is wrong.\n\tMend é漢😀.");
  assert.equal(message, "a.site.json: \\u{1b}[2J\\u{202e}\\u{0} \\u{d800} is wrong.\n\tMend é漢😀.");
});

test("children get names of an allow-list", () => {
  const environment = { PATH: "/bin", HOME: "/h", PULUMI_CONFIG: "{}", AWS_SECRET_ACCESS_KEY: "x", HTTP_PROXY: "p" };
  assert.deepEqual(childEnvironment(environment), { PATH: "/bin", HOME: "/h" });
});

test("a local command's line holds plain words only", () => {
  assert.equal(localCommandLine("ansible/run.ts", "enrol"), "sh local-commands/run.sh ansible/run.ts enrol");
  for (const word of ["a b", "$(id)", "a;b", "a'b", ""]) assert.throws(() => localCommandLine("x.ts", word));
});

test("run.sh passes on an allow-list, values with blanks in one piece, and stdin", async () => {
  const script = join(folder, "show.ts");
  await writeFile(script, "process.stdin.resume().on('end', () => console.log(JSON.stringify(process.env)));\n");
  const output = execFileSync("sh", [join(repository, "local-commands/run.sh"), script], {
    input: "{}",
    env: { PATH: process.env.PATH, HOME: "/a b'\"", PULUMI_CONFIG: "secret", CHILLBOX_HOME: "/c", TMPDIR: "" },
    encoding: "utf8",
  });
  const { PATH, ...rest } = JSON.parse(output);
  assert.equal(PATH, process.env.PATH);
  assert.deepEqual(rest, { HOME: "/a b'\"", CHILLBOX_HOME: "/c" });
});

test("run.sh is not misled by odd values, and shows none on a command line", async () => {
  const script = join(folder, "show-line.ts");
  const show = `import { readFileSync } from "node:fs";
console.log(JSON.stringify([process.env, readFileSync("/proc/self/cmdline", "utf8"), readFileSync("/proc/self/environ", "latin1")]));
`;
  await writeFile(script, show);
  // Bytes that are no UTF-8 can only come from a shell.
  const start = `export PULUMI_ODD="$(printf '\\377secret')"; exec sh ${join(repository, "local-commands/run.sh")} ${script} word`;
  const output = execFileSync("sh", ["-c", start], {
    env: {
      PATH: process.env.PATH,
      LANG: "C.UTF-8",
      HTTPS_PROXY: "http://me:password@proxy",
      USER: "a\nLOGNAME=b\n$(id); c=d",
      MANY: "secret\nPATH=/nowhere\nHOME=",
      name: "secret",
    },
    encoding: "utf8",
  });
  const [environment, line, block] = JSON.parse(output);
  delete environment.PATH;
  assert.deepEqual(environment, {
    LANG: "C.UTF-8",
    HTTPS_PROXY: "http://me:password@proxy",
    USER: "a\nLOGNAME=b\n$(id); c=d",
  });
  assert.equal(line, `node\0--import\0./toolchain/stripped-types.mjs\0${script}\0word\0`);
  assert.doesNotMatch(block, /secret/);
});

test("a failed local command says one line and shows no stack", () => {
  const run = () =>
    execFileSync("node", [join(repository, "local-commands/make-ssh-key.ts")], { input: "no JSON", stdio: "pipe" });
  assert.throws(run, (error: Error & { stderr: Buffer; status: number }) => {
    assert.equal(error.status, 1);
    assert.doesNotMatch(error.stderr.toString(), /\n\s+at /);
    return true;
  });
});

test("the server scripts' archive depends on their content alone", async () => {
  const scripts = join(folder, "scripts");
  await mkdir(join(scripts, "lib"), { recursive: true });
  await writeFile(join(scripts, "lib", "x.sh"), "x\n", { mode: 0o755 });
  const first = await packServerScripts(scripts, join(folder, "out"));
  assert.deepEqual(await packServerScripts(scripts, join(folder, "out")), first);
  assert.equal((await packServerScripts(scripts, join(folder, "elsewhere"))).sha256, first.sha256);
  await writeFile(join(scripts, "lib", "x.sh"), "y\n");
  assert.notEqual((await packServerScripts(scripts, join(folder, "out"))).sha256, first.sha256);
  const listed = execFileSync("tar", ["-tf", first.path], { encoding: "utf8" });
  assert.equal(listed, "lib/\nlib/x.sh\n");
  await assert.doesNotReject(readArchive(first.path, { topFolder: "lib" }));
});

test("the wheels' folder follows from the list of wheels", async () => {
  const requirements = join(folder, "requirements.txt");
  await writeFile(requirements, "a==1\n");
  const path = await wheelsFolder(requirements, undefined, { XDG_CACHE_HOME: "/cache" });
  assert.match(path, /^\/cache\/chillbox\/wheels\/[0-9a-f]{16}$/);
  const server = { python: "3.13", platforms: ["musllinux_1_2_x86_64", "musllinux_1_1_x86_64"] };
  assert.equal(
    await wheelsFolder(requirements, server, { XDG_CACHE_HOME: "/cache" }),
    `${path}-cp313-musllinux_1_2_x86_64`,
  );
  assert.match(await wheelsFolder(requirements, undefined, { HOME: "/h" }), /^\/h\/\.cache\/chillbox\/wheels\//);
});

test("names are sorted into zones", () => {
  const zones = groupByZone(
    ["www.a.test", "a.test", "x.y.b.co.uk", "deep.own.c.test", "a.test", "*.a.test"],
    ["own.c.test", "c.test"],
  );
  assert.deepEqual(Object.fromEntries(zones), {
    "a.test": ["*", "@", "www"],
    "own.c.test": ["deep"],
    "b.co.uk": ["x.y"],
  });
  assert.throws(() => groupByZone(["co.uk"], []), { name: "UserError", message: /belongs to no zone/ });
});

test("types that browsers are told", () => {
  const table: [string, string][] = [
    ["a/hello.css", "text/css; charset=utf-8"],
    ["hello.js", "text/javascript; charset=utf-8"],
    ["a.svg", "image/svg+xml; charset=utf-8"],
    ["a.woff2", "font/woff2"],
    ["a.json", "application/json; charset=utf-8"],
    ["sites/x/y.tar.gz", "application/gzip"],
    ["noending", "application/octet-stream"],
  ];
  for (const [key, type] of table) assert.equal(contentType(key), type, key);
});
