/** Writes `docs/site-reference.md` from `site.schema.json`: `node docs/generate-site-reference.ts`. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { readSchema, resolveSchema, type Schema } from "../lib/site-problems.ts";

/** A field of the site file. */
export interface SchemaField {
  /** Such as `services[].lang`. */
  readonly path: string;
  readonly required: boolean;
  /** With what a `$ref` refers to. */
  readonly schema: Schema;
}

/** Every field of the schema, each before those in it. */
export function schemaFields(schema: Schema): SchemaField[] {
  return fieldsOf(schema, "");

  function fieldsOf(part: Schema, prefix: string): SchemaField[] {
    return Object.entries(part.properties ?? {}).flatMap(([name, reference]) => {
      const field = resolveSchema(schema, reference);
      const path = `${prefix}${name}`;
      const own = { path, required: part.required?.includes(name) ?? false, schema: field };
      const items = field.items && resolveSchema(schema, field.items);
      return [own, ...fieldsOf(field, `${path}.`), ...(items ? fieldsOf(items, `${path}[].`) : [])];
    });
  }
}

/** The reference as Markdown. */
export function siteReference(schema: Schema): string {
  const sections = schemaFields(schema).map((field) => section(field, schema));
  return `# Every field of a site file

<!-- Made from site.schema.json by docs/generate-site-reference.ts: change the schema and run \`node docs/generate-site-reference.ts\`. -->

${schema.description}
[The guide to sites](sites.md) says how the parts fit; \`npx chillbox site check\` finds mistakes. What is in a list is written
here with \`[]\`. Unknown fields have no effect and earn a warning.

${sections.join("\n")}`;
}

function section({ path, required, schema }: SchemaField, whole: Schema): string {
  const facts = [required ? "Required" : "Optional", typeOf(schema, whole)];
  if (schema.default !== undefined) facts.push(`default: \`${JSON.stringify(schema.default)}\``);
  const name = path.slice(path.lastIndexOf(".") + 1);
  const example = `"${name}": ${JSON.stringify(schema.examples?.[0], undefined, 1)
    ?.replace(/\n\s*/g, " ")
    .replaceAll("[ ", "[")
    .replaceAll(" ]", "]")}`;
  return `${path.includes(".") ? "###" : "##"} \`${path}\`

${facts.join("; ")}.

${schema.description}

\`\`\`json
${example}
\`\`\`
`;
}

function typeOf(schema: Schema, whole: Schema): string {
  if (schema.enum) return `one of ${schema.enum.map((word) => `\`${word}\``).join(", ")}`;
  const type = [schema.type ?? "any"]
    .flat()
    .join(", ")
    .replace(/, (\w+)$/, " or $1");
  if (schema.items) {
    const least = schema.minItems ? `, at least ${schema.minItems}` : "";
    return `list of ${resolveSchema(whole, schema.items).type}s${least}${schema.uniqueItems ? ", none twice" : ""}`;
  }
  if (schema.maximum !== undefined) return `${type} from ${schema.minimum} to ${schema.maximum}`;
  if (schema.minimum !== undefined) return `${type}, ${schema.minimum} or more`;
  return schema.pattern ? `${type} like \`${schema.pattern}\`` : type;
}

if (process.argv[1] === import.meta.filename) {
  await writeFile(join(import.meta.dirname, "site-reference.md"), siteReference(await readSchema()));
}
