import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readSchema, resolveSchema, type Schema } from "../lib/site-problems.ts";
import { exampleChecks, exampleStack } from "./end-to-end/example-checks.ts";
import { ProjectCopy } from "./end-to-end/project-copy.ts";
import { layOutExamples } from "./sites/lay-out.ts";

/**
 * `npm run test:fields`: for each field of the site contract, shows that a test notices when chillbox does nothing with it.
 *
 * In a copy of the project, in which the example sites are deployed, the code that reads site files forgets one field after the other;
 * the sites are deployed again and asked everything. A field that changes nothing there, because only people and other programs read
 * it, is taken out of the published schema, and the unit tests must notice that.
 *
 * Prints `field -> test` for each, and fails if there is a field that no test notices. Words after the command choose fields that
 * contain one of them.
 */

/** Where a field stands: keys from the top; what is in a list has no index. */
type Field = readonly string[];

const forgetful = `
import { readFileSync as readForgotten } from "node:fs";

function withoutForgotten(value: unknown, field: string[]): unknown {
  if (Array.isArray(value)) return value.map((item) => withoutForgotten(item, field));
  if (value === null || typeof value !== "object") return value;
  const [key, ...rest] = field;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => name !== key || rest.length > 0)
      .map(([name, child]) => [name, name === key ? withoutForgotten(child, rest) : child]),
  );
}

function forget(content: unknown): unknown {
  return withoutForgotten(content, JSON.parse(readForgotten(new URL("../forgotten.json", import.meta.url), "utf8")));
}
`;

async function main(words: readonly string[]): Promise<void> {
  const schema = await readSchema();
  const fields = fieldsOf(schema, schema).filter(
    (field) => words.length === 0 || words.some((word) => field.join(".").includes(word)),
  );
  const copy = await ProjectCopy.make();
  const releases = mkdtempSync(join(tmpdir(), "chillbox-releases-"));
  rmSync(join(copy.folder, "sites"), { recursive: true });
  const laidOut = await layOutExamples(join(copy.folder, "sites"), releases);
  const unnoticed: string[] = [];
  try {
    copy.edit("Pulumi.yaml", "default: s-1vcpu-512mb-10gb", "default: s-1vcpu-2gb");
    copy.edit("lib/site-file.ts", "const raw = content as RawSiteFile;", "const raw = forget(content) as RawSiteFile;");
    copy.write("lib/site-file.ts", copy.read("lib/site-file.ts") + forgetful);
    copy.write("forgotten.json", "[]");
    const notice = noticer(copy, laidOut.asked);
    for (const slug of ["notes", "heritage"]) await must(copy, ["site", "allow", slug, "--yes"]);
    const atFirst = (await notice([])) ?? (await noticeInSchema(copy, []));
    if (atFirst !== undefined) throw new Error(`before anything is forgotten: ${atFirst}`);
    for (const field of fields) {
      const test = (await notice(field)) ?? (await noticeInSchema(copy, field));
      process.stdout.write(`${field.join(".")} -> ${test ?? "no test notices"}\n`);
      if (test === undefined) unnoticed.push(field.join("."));
    }
  } finally {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    await laidOut.close();
    copy.remove();
    rmSync(releases, { recursive: true });
  }
  process.stdout.write(`${fields.length - unnoticed.length} of ${fields.length} fields are noticed by a test\n`);
  if (unnoticed.length > 0) process.exitCode = 1;
}

function fieldsOf(schema: Schema, part: Schema, path: Field = []): Field[] {
  const { properties, items } = resolveSchema(schema, part);
  if (items) return fieldsOf(schema, items, path);
  return Object.entries(properties ?? {}).flatMap(([key, child]) => [
    [...path, key],
    ...fieldsOf(schema, child, [...path, key]),
  ]);
}

async function must(copy: ProjectCopy, words: readonly string[]): Promise<void> {
  const { exitCode, output } = await copy.chillbox(words);
  if (exitCode !== 0) throw new Error(`chillbox ${words.join(" ")}: ${output}`);
}

/** Deploys with one field forgotten, and names the first test of the example sites that fails. */
function noticer(copy: ProjectCopy, asked: readonly string[]): (field: Field) => Promise<string | undefined> {
  const stack = exampleStack(copy, asked);
  return async (field) => {
    copy.write("forgotten.json", JSON.stringify(field));
    // What commands gave is kept with a build.
    rmSync(join(copy.folder, ".chillbox", "artifacts"), { recursive: true, force: true });
    const { exitCode, output } = await copy.chillbox(["up", "--yes"]);
    if (exitCode !== 0) return `the example sites are deployed together (${output.trimEnd().split("\n").at(-1)})`;
    for (const { site, what, check } of exampleChecks) {
      const failed = await check(stack).then(
        () => false,
        () => true,
      );
      if (failed) return `the example sites: ${site} ${what}`;
    }
    return undefined;
  };
}

/** Takes the field out of the published schema, and names the first unit test that fails. */
async function noticeInSchema(copy: ProjectCopy, field: Field): Promise<string | undefined> {
  const kept = copy.read("site.schema.json");
  const schema = JSON.parse(kept) as Schema;
  takeOut(schema, schema, field);
  copy.write("site.schema.json", JSON.stringify(schema));
  copy.write("forgotten.json", "[]");
  const tests = readdirSync(join(copy.folder, "tests/unit/lib")).filter((name) => /^site.*\.test\.ts$/.test(name));
  const files = [...tests.map((name) => `tests/unit/lib/${name}`), "tests/unit/example-sites.test.ts"];
  const { output } = await copy.run("node", ["--test", "--test-reporter=tap", ...files]);
  copy.write("site.schema.json", kept);
  const test = /^\s*not ok \d+ - (.*)$/m.exec(output)?.[1];
  return test && `${test} (taken out of the schema)`;
}

function takeOut(schema: Schema, part: Schema, [key = "", ...rest]: Field): void {
  const { properties = {}, required = [] } = held(schema, part) as {
    properties?: Record<string, Schema>;
    required?: string[];
  };
  const child = properties[key];
  if (rest.length > 0) {
    if (child) takeOut(schema, child, rest);
    return;
  }
  delete properties[key];
  if (required.includes(key)) required.splice(required.indexOf(key), 1);
}

/** The object itself to which a reference, or the items of a list, lead. */
function held(schema: Schema, part: Schema): Schema {
  const target = schema.$defs?.[part.$ref?.replace("#/$defs/", "") ?? ""] ?? part;
  return target.items ? held(schema, target.items) : target;
}

await main(process.argv.slice(2));
