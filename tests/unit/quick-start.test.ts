import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { test } from "node:test";

const repository = resolve(import.meta.dirname, "../..");

/** Runs a script as the language host runs the program, with `loaded(name)`: whether Node has read a file of that package. */
function run(script: string): string {
  const prelude = `
    process.argv[1] = "${repository}/node_modules/@pulumi/pulumi/cmd/run";
    await import("${repository}/toolchain/quick-start.mjs");
    const require = (await import("node:module")).createRequire("${repository}/index.ts");
    const loaded = (name) => Object.entries(require.cache).some(([path, module]) => path.includes(name) && !module.standsIn);
  `;
  return execFileSync(process.execPath, ["--input-type=module", "--eval", prelude + script], {
    encoding: "utf8",
  }).trim();
}

test("the SDK starts without what is only needed to send functions away", () => {
  const said = run(`
    require("@pulumi/pulumi");
    require("@pulumi/pulumi/cmd/run/tracing.js");
    console.log(["typescript/lib", "@npmcli/arborist", "normalize-package-data", "sdk-trace", "@pulumi/pulumi/output.js"].map(loaded));
  `);
  assert.equal(said, "[ false, false, false, false, true ]");
});

test("what was left out is there when it is used", () => {
  const said = run(`
    const { runtime } = require("@pulumi/pulumi");
    const added = 40;
    const { text } = await runtime.serializeFunction((number) => number + added);
    console.log(text.includes("added: 40"), (await runtime.computeCodePaths()).size > 0);
    const { SimpleSpanProcessor } = require("@opentelemetry/sdk-trace-base");
    console.log(typeof new SimpleSpanProcessor({}).onEnd, require("typescript").SyntaxKind.Unknown);
  `);
  assert.equal(said, "true true\nfunction 0");
});
