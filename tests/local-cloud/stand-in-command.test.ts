import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { tinyProject } from "./tiny-project.ts";

const program = `
import * as pulumi from "@pulumi/pulumi";
import { local } from "@pulumi/command";
const config = new pulumi.Config();
const make = new local.Command("make", {
  create: "cat; echo ' made'",
  update: "cat; echo ' updated'",
  delete: "cat >> deleted",
  stdin: config.get("stdin") ?? "first",
  triggers: [config.get("trigger") ?? "one"],
});
const hidden = new local.Command(
  "hidden",
  { create: "echo plain-$(cat)", stdin: pulumi.secret("sesame"), logging: "none" },
  { additionalSecretOutputs: ["stdout"] },
);
new local.Command("after", { create: pulumi.interpolate\`echo after \${make.stdout}\` });
export const made = make.stdout;
export const secretOutput = hidden.stdout;
export const standIn = process.env.CHILLBOX_STAND_IN;
`;

test("the engine makes, keeps, updates, replaces and deletes commands", async (t) => {
  const project = await tinyProject(t, program);
  const output = async (name: string): Promise<unknown> =>
    JSON.parse(await project.ok("stack", "output", "--json", "--show-secrets"))[name];

  assert.match(await project.ok("preview"), /\+ 4 to create/);
  assert.ok(!existsSync(join(project.folder, "deleted")), "a preview runs nothing");

  assert.deepEqual(await project.up(), { create: 4 });
  assert.equal(await output("made"), "first made");
  assert.equal(await output("secretOutput"), "plain-sesame");
  assert.equal(await output("standIn"), "1");
  assert.ok(!project.stateText().includes("sesame"), "a secret is not in the state");
  assert.ok(project.stateText().includes("first made"), "what is not secret is in the state");
  const made = (await project.resources()).find(({ urn }) => urn.endsWith("::make"));
  assert.match(made?.id ?? "", /^make[0-9a-f]{8}$/);

  assert.deepEqual(await project.up(), { same: 4 });

  await project.set("stdin", "second");
  assert.deepEqual(await project.up(), { same: 2, update: 2 });
  assert.equal(await output("made"), "second updated");

  await project.set("trigger", "two");
  assert.match(await project.ok("preview", "--diff"), /\+-command:local:Command: \(replace\)/);
  assert.deepEqual(await project.up(), { same: 2, replace: 1, update: 1 });
  assert.equal(await output("made"), "second made");
  assert.equal(readFileSync(join(project.folder, "deleted"), "utf8"), "second");

  await project.ok("destroy", "--yes", "--skip-preview");
  assert.deepEqual(await project.resources(), []);
  assert.equal(readFileSync(join(project.folder, "deleted"), "utf8"), "secondsecond");
});

test("a command that fails is told by its output, and tried again the next time", async (t) => {
  const failing = `
import { local } from "@pulumi/command";
new local.Command("fails", { create: "echo what went wrong >&2; test -e allowed" });
`;
  const project = await tinyProject(t, failing);
  const failed = await project.run("up", "--yes", "--skip-preview");
  assert.notEqual(failed.code, 0);
  assert.match(failed.output, /exit status 1: running "echo what went wrong >&2; test -e allowed":\s+what went wrong/);
  assert.doesNotMatch(failed.output, /at .*\.ts:\d+/, "no stack trace");
  const { writeFileSync } = await import("node:fs");
  writeFileSync(join(project.folder, "allowed"), "");
  assert.deepEqual(await project.up(), { create: 1, same: 1 });
});

test("a stack other than local is refused by the engine's run", async (t) => {
  const project = await tinyProject(t, program, { stack: "prod" });
  const { code, output } = await project.run("preview");
  assert.notEqual(code, 0);
  assert.match(output, /stack prod: refuses to run on stand-ins/);
  assert.doesNotMatch(output, /to create/);
});

test("a program's error is shown once, without the host adding its own", async (t) => {
  const project = await tinyProject(
    t,
    'import * as pulumi from "@pulumi/pulumi";\nthrow new pulumi.RunError("one clear sentence");\n',
  );
  const { code, output } = await project.run("preview");
  assert.notEqual(code, 0);
  const diagnostics = output.slice(output.indexOf("Diagnostics:"));
  assert.equal(diagnostics.match(/one clear sentence/g)?.length, 1, output);
  assert.doesNotMatch(output, /the program exited/);
});

test("a bug in a program is shown with the line, and not in half a minute", async (t) => {
  const project = await tinyProject(t, 'function broken() {\n  throw new TypeError("a bug");\n}\nbroken();\n');
  const { code, output } = await project.run("preview");
  assert.notEqual(code, 0);
  assert.match(output, /TypeError: a bug/);
  assert.match(output, /index\.ts:2:9/);
  // A frame mapped to the SDK's sources is one on which Node's util.inspect never ends.
  assert.match(output, /\/resource\.js:/);
  assert.doesNotMatch(output, /\/resource\.ts:/);
});
