import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { schemaFields, siteReference } from "../../docs/generate-site-reference.ts";
import { readSchema } from "../../lib/site-problems.ts";

const schema = await readSchema();
const fields = schemaFields(schema);

describe("site.schema.json", () => {
  it("is found whole", () => {
    assert.ok(fields.length > 35);
    for (const path of ["domain_list", "contact.owner", "services[].environment[].value", "workers[].run-cmd"]) {
      assert.ok(fields.some((field) => field.path === path));
    }
  });

  for (const { path, schema: field } of fields) {
    it(`describes ${path}, with examples that fit`, () => {
      assert.match(field.description ?? "", /^\S.*\.$/);
      assert.ok(field.examples && field.examples.length > 0, "it has no example");
      const validate = new Ajv2020({ allowUnionTypes: true }).compile({ ...field, $defs: schema.$defs });
      const samples = field.default === undefined ? field.examples : [...field.examples, field.default];
      for (const sample of samples) assert.ok(validate(sample), JSON.stringify([sample, validate.errors]));
    });
  }
});

describe("docs/site-reference.md", () => {
  it("is what the schema says now; if not: node docs/generate-site-reference.ts", async () => {
    const written = await readFile(join(import.meta.dirname, "../../docs/site-reference.md"), "utf8");
    assert.equal(written, siteReference(schema));
  });
});
