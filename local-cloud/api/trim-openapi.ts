/**
 * Makes `openapi.yaml`, `openapi.d.ts` and `request-schemas.json` out of DigitalOcean's OpenAPI file:
 *
 *     node local-cloud/api/trim-openapi.ts [<digitalocean-openapi.yaml>]
 *
 * Without a file it makes them out of `openapi.yaml` itself, after a change here.
 *
 * The first holds the operations that the local cloud serves and the schemas they reach, unchanged but for prose and examples; the tests
 * check every answer against it. The second is its types. The third holds the request bodies alone, loosened where DigitalOcean's own
 * clients break the file, ready for ajv: parsing YAML at each start would cost time and memory.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { servedOperations } from "./operations.ts";

export type Json = { [key: string]: Json } | Json[] | string | number | boolean | null;
export type JsonObject = { [key: string]: Json };

const prose = new Set(["description", "summary", "example", "examples", "title", "externalDocs", "x-ogx"]);
const trimmedLine =
  "# Trimmed once more by trim-openapi.ts: only the operations that the local cloud serves, without prose and examples.";
const folder = import.meta.dirname;

if (process.argv[1] === import.meta.filename) {
  const [sourcePath = join(folder, "openapi.yaml")] = process.argv.slice(2);
  const sourceText = readFileSync(sourcePath, "utf8");
  const trimmed = trim(parse(sourceText));
  const yaml = stringify(trimmed, { lineWidth: 0, aliasDuplicateObjects: false });
  writeFileSync(join(folder, "openapi.yaml"), header(sourceText) + yaml);
  writeFileSync(join(folder, "request-schemas.json"), JSON.stringify(requestSchemas(trimmed)));
  execFileSync("npx", ["openapi-typescript", join(folder, "openapi.yaml"), "--output", join(folder, "openapi.d.ts")]);
  execFileSync("npx", ["biome", "format", "--write", folder]);
}

function header(text: string): string {
  const origin = text.split("\n").filter((line) => line.startsWith("#") && line !== trimmedLine);
  return `${[...origin, trimmedLine].join("\n")}\n`;
}

/** The served operations and every component that they reach. What has been trimmed already stays as it is. */
export function trim(document: JsonObject): JsonObject {
  const paths: JsonObject = {};
  for (const [path, methods] of Object.entries(document.paths as Record<string, JsonObject>)) {
    const kept = Object.entries(methods).filter(([, operation]) => isServed(operation));
    if (kept.length > 0) paths[path] = Object.fromEntries(kept.map(([method, one]) => [method, withoutProse(one)]));
  }
  const components: Record<string, JsonObject> = {};
  collect(paths, document, components);
  mendStatus(components);
  return {
    openapi: document.openapi ?? "3.0.0",
    info: withoutProse({ ...(document.info as JsonObject), title: "DigitalOcean API" }),
    paths,
    components: components as JsonObject,
  };
}

/** Some YAML reader once took the droplet status `off` for a boolean. */
function mendStatus(components: Record<string, JsonObject>): void {
  const droplet = components.schemas?.droplet as JsonObject;
  const status = (droplet.properties as JsonObject).status as JsonObject;
  status.enum = ["new", "active", "off", "archive"];
}

function isServed(operation: Json): boolean {
  const id = (operation as JsonObject).operationId;
  return typeof id === "string" && servedOperations.has(id);
}

/** A copy without descriptions and examples. Properties and responses that bear such a name stay. */
function withoutProse(value: Json, insideNames = false): Json {
  if (Array.isArray(value)) return value.map((item) => withoutProse(item));
  if (value === null || typeof value !== "object") return value;
  const copy: JsonObject = {};
  for (const [key, child] of Object.entries(value)) {
    // A response must have a description.
    if (key === "description" && !insideNames && value.content !== undefined) copy[key] = "";
    else if (insideNames || !prose.has(key)) copy[key] = withoutProse(child, !insideNames && key === "properties");
  }
  return copy;
}

function collect(value: Json, document: JsonObject, components: Record<string, JsonObject>): void {
  if (value === null || typeof value !== "object") return;
  for (const child of Object.values(value)) collect(child, document, components);
  const reference = Array.isArray(value) ? undefined : value.$ref;
  if (typeof reference !== "string") return;
  const [, , kind = "", name = ""] = reference.split("/");
  const group = components[kind] ?? {};
  components[kind] = group;
  if (group[name] !== undefined) return;
  const target = ((document.components as JsonObject)[kind] as JsonObject)[name] ?? null;
  const clean = withoutProse(target);
  // A response without content must still be described.
  group[name] = kind === "responses" ? { description: "", ...(clean as JsonObject) } : clean;
  collect(group[name], document, components);
}

/** `{components, operations: {<operationId>: schema}}`, loosened. */
export function requestSchemas(document: JsonObject): JsonObject {
  const operations: JsonObject = {};
  for (const methods of Object.values(document.paths as Record<string, JsonObject>)) {
    for (const operation of Object.values(methods) as JsonObject[]) {
      const content = (operation.requestBody as JsonObject | undefined)?.content as JsonObject | undefined;
      const schema = (content?.["application/json"] as JsonObject | undefined)?.schema;
      if (schema !== undefined) operations[operation.operationId as string] = schema;
    }
  }
  const components: Record<string, JsonObject> = {};
  const copy = structuredClone(operations);
  collect(copy, document, components);
  const loosened = { components: { schemas: structuredClone(components.schemas ?? {}) }, operations: copy };
  loosen(loosened.components.schemas, copy);
  return loosened as unknown as JsonObject;
}

/** What DigitalOcean's own clients send although its file forbids it. */
function loosen(schemas: JsonObject, operations: JsonObject): void {
  const schema = (name: string) => schemas[name] as JsonObject;
  const property = (name: string, key: string) => (schema(name).properties as JsonObject)[key] as JsonObject;
  const droplet = property("droplet_create", "volumes");
  droplet.items = {};
  property("droplet_create", "ssh_keys").nullable = true;
  // Clients that know no region or VPC send empty or null ones.
  for (const key of ["vpc_uuid", "user_data", "region"]) property("droplet_create", key).nullable = true;
  const types = property("droplet_action", "type").enum as Json[];
  types.push("change_backup_policy", "enable_private_networking");
  schema("firewall_rule_base").required = ["protocol"];
  (property("project_base", "environment").enum as Json[]).push("");
  for (const key of ["name", "description", "purpose", "environment"]) property("project_base", key).nullable = true;
  (property("project_base", "environment").enum as Json[]).push(null);
  delete schema("domain_record").required;
  for (const key of ["ttl", "name", "data"]) property("domain_record", key).nullable = true;
  // Newer regions and unknown distributions are let through: the API itself looks at them.
  delete schema("region_slug").enum;
  delete schema("distribution").enum;
  // By type of record the file says what is required; the API answers with a text of its own instead.
  operations.domains_create_record = { $ref: "#/components/schemas/domain_record" };
}
