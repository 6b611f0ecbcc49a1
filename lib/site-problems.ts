import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ErrorObject, ValidateFunction } from "ajv";
import { crontabProblems } from "./crontab.ts";
import type { JsonPath } from "./json-source.ts";
import { closest } from "./names.ts";
import { type RedisDirectives, redisProblems } from "./redis.ts";

/** Something in a site file that a person should mend. */
export interface SiteProblem {
  /** A warning fails nothing. */
  readonly severity: "error" | "warning";
  /** Keys and indexes from the top; empty for the file as a whole. */
  readonly path: JsonPath;
  /** Whether the key is meant and not its value. */
  readonly atKey: boolean;
  /** What is wrong: the end of a sentence whose subject is the path, without the full stop. */
  readonly what: string;
  /** What to do: a sentence. */
  readonly fix: string;
}

/** A site file whose content fits the schema. */
export interface RawSiteFile {
  readonly name: string;
  readonly server_name: string;
  readonly release: string;
  readonly domain_list: readonly string[];
  readonly version?: string;
  readonly env?: readonly { name: string; value?: string; cmd?: string }[];
  readonly crontab?: readonly string[];
  readonly redis?: RedisDirectives;
  readonly services?: readonly RawService[];
  readonly workers?: readonly RawWorker[];
}

/** A service of it, as far as it is looked at here. */
interface RawService {
  readonly name: string;
  readonly lang: string;
  readonly secrets_config?: string;
  readonly workers_minimum?: number;
  readonly workers_maximum?: number;
}

interface RawWorker {
  readonly name: string;
  readonly secrets_config?: string;
}

/** A part of `site.schema.json`, as far as chillbox looks at it by itself. */
export interface Schema {
  readonly $ref?: string;
  readonly $defs?: Readonly<Record<string, Schema>>;
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly examples?: readonly unknown[];
  readonly default?: unknown;
  readonly enum?: readonly unknown[];
  readonly required?: readonly string[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly items?: Schema;
  readonly additionalProperties?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly pattern?: string;
  readonly uniqueItems?: boolean;
}

/** Absolute path of the published schema. */
export const schemaPath = join(dirname(fileURLToPath(import.meta.url)), "..", "site.schema.json");

let validator: Promise<ValidateFunction> | undefined;

/** The published schema. */
export async function readSchema(): Promise<Schema> {
  return JSON.parse(await readFile(schemaPath, "utf8")) as Schema;
}

/** A problem as one line for people, without the file's name. */
export function problemLine({ path, what, fix }: SiteProblem): string {
  return `${path.length === 0 ? "the file" : `"${pathText(path)}"`} ${what}. ${fix}`;
}

/**
 * A path as people write it.
 * @example pathText(["services", 0, "lang"]) === "services[0].lang"
 */
export function pathText(path: JsonPath): string {
  return path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`))
    .join("")
    .replace(/^\./, "");
}

/** Where a content does not fit the schema: everything, in no special order. */
export async function schemaProblems(content: unknown): Promise<SiteProblem[]> {
  validator ??= compileSchema();
  const validate = await validator;
  if (validate(content)) return [];
  const problems = (validate.errors ?? [])
    // "anyOf" only sums up the errors of its branches.
    .filter((error) => error.keyword !== "anyOf")
    .map((error) => schemaProblem(error, content));
  return [...new Map(problems.map((problem) => [problemLine(problem), problem])).values()];
}

async function compileSchema(): Promise<ValidateFunction> {
  // Loaded here, because most runs need no check.
  const { Ajv2020 } = await import("ajv/dist/2020.js");
  const options = { allErrors: true, allowUnionTypes: true, strictRequired: false, verbose: true };
  return new Ajv2020(options).compile(await readSchema());
}

function schemaProblem(error: ErrorObject, content: unknown): SiteProblem {
  const path = pathOf(error.instancePath, content);
  const schema = (error.parentSchema ?? {}) as Schema;
  const shown = JSON.stringify(error.data)?.slice(0, 80);
  const problem = { severity: "error", path, atKey: false } as const;
  switch (error.keyword) {
    case "required":
      return { ...problem, ...lacking(error.params.missingProperty as string, schema, error.data as object) };
    case "enum": {
      const allowed = (error.params.allowedValues as unknown[]).map(String);
      const meant = typeof error.data === "string" ? closest(error.data, allowed) : undefined;
      const fix = meant ? `Did you mean "${meant}"?` : "Write one of these.";
      return { ...problem, what: `is ${shown}; it should be one of ${allowed.join(", ")}`, fix };
    }
    case "pattern":
      return { ...problem, what: `is ${shown}, which does not match ${error.params.pattern}`, fix: writeAs(schema) };
    case "type":
      return {
        ...problem,
        what: `is ${shown}; it should be of type ${[error.params.type].flat().join(" or ")}`,
        fix: writeAs(schema),
      };
    default:
      return { ...problem, what: `is ${shown}: ${error.message}`, fix: writeAs(schema) };
  }
}

/** A missing key, which may be there with a typing mistake. */
function lacking(name: string, schema: Schema, content: object): Pick<SiteProblem, "what" | "fix"> {
  const strangers = Object.keys(content).filter((key) => !(key in (schema.properties ?? {})));
  const mistyped = closest(name, strangers);
  const example = schema.properties?.[name]?.examples?.[0];
  const such = example === undefined ? "" : `, such as "${name}": ${JSON.stringify(example)}`;
  return { what: `lacks "${name}"`, fix: mistyped ? `Rename "${mistyped}" to "${name}".` : `Add it${such}.` };
}

function writeAs({ examples, description }: Schema): string {
  if (examples?.[0] !== undefined) return `Write it like ${JSON.stringify(examples[0])}.`;
  return description ?? "docs/site-reference.md tells what belongs there.";
}

/** Ajv's JSON pointer with numbers for the indexes of lists. */
function pathOf(pointer: string, content: unknown): JsonPath {
  const path: (string | number)[] = [];
  let value = content;
  for (const part of pointer.split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    path.push(Array.isArray(value) ? Number(key) : key);
    value = (value as Record<string, unknown>)[key];
  }
  return path;
}

/** What the schema cannot say about a content that fits it. */
export function otherProblems(raw: RawSiteFile): SiteProblem[] {
  const redis = redisProblems(raw.redis ?? {}).filter(({ severity }) => severity === "error");
  return [...notText(raw, []), ...contradictions(raw), ...redis, ...crontabProblems(raw.crontab ?? [])];
}

/** JSON can write down what is no text anywhere else: a NUL character, or half of one that needs two units of UTF-16. */
function notText(value: unknown, path: JsonPath): SiteProblem[] {
  if (typeof value === "string") {
    const what = value.includes("\0") ? "has a NUL character in it" : "has half a character in it (a lone surrogate)";
    if (value.isWellFormed() && !value.includes("\0")) return [];
    return [{ severity: "error", path, atKey: false, what, fix: "Take that out." }];
  }
  if (value === null || typeof value !== "object") return [];
  const entries = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return entries.flatMap(([key, child]) => notText(child, [...path, key]));
}

/** What changes nothing: a site works without these keys, so they stop no deployment. */
export function withoutEffect(raw: RawSiteFile): SiteProblem[] {
  return redisProblems(raw.redis ?? {}).filter(({ severity }) => severity === "warning");
}

function contradictions(raw: RawSiteFile): SiteProblem[] {
  const problems: SiteProblem[] = [];
  const error = { severity: "error", atKey: false } as const;
  if (!raw.domain_list.includes(raw.server_name)) {
    const what = `is "${raw.server_name}", which is not in "domain_list"`;
    problems.push({ ...error, path: ["server_name"], what, fix: "Add it there." });
  }
  const names = new Set<string>();
  for (const key of ["services", "workers"] as const) {
    for (const [index, { name }] of (raw[key] ?? []).entries()) {
      const what = `is "${name}", as that of another service${key === "workers" ? " or worker" : ""}`;
      if (names.has(name)) problems.push({ ...error, path: [key, index, "name"], what, fix: "Rename one." });
      names.add(name);
    }
  }
  for (const [index, { workers_minimum, workers_maximum }] of (raw.services ?? []).entries()) {
    if ((workers_minimum ?? 0) <= (workers_maximum ?? workers_minimum ?? 0)) continue;
    const what = `is ${workers_minimum}, more than "workers_maximum", which is ${workers_maximum}`;
    problems.push({ ...error, path: ["services", index, "workers_minimum"], what, fix: "Lower it." });
  }
  return problems;
}

/** Warnings for every key that the schema does not have: older site files have some, and a typing mistake looks the same. */
export async function unknownKeys(content: unknown): Promise<SiteProblem[]> {
  const schema = await readSchema();
  const found: SiteProblem[] = [];
  look(content, schema, []);
  return found;

  function look(value: unknown, part: Schema, path: JsonPath): void {
    const resolved = resolveSchema(schema, part);
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) look(item, resolved.items ?? {}, [...path, index]);
    } else if (value !== null && typeof value === "object" && resolved.properties) {
      for (const [key, child] of Object.entries(value)) {
        const known = Object.hasOwn(resolved.properties, key) ? resolved.properties[key] : undefined;
        if (known) look(child, known, [...path, key]);
        else found.push(unknownKey([...path, key], key, Object.keys(resolved.properties), Object.keys(value)));
      }
    }
  }
}

function unknownKey(path: JsonPath, key: string, known: readonly string[], present: readonly string[]): SiteProblem {
  const meant = closest(
    key,
    known.filter((name) => !present.includes(name)),
  );
  const fix = meant ? `Did you mean "${meant}"?` : "Take it out, or leave it for another program.";
  return { severity: "warning", path, atKey: true, what: "is not a key that chillbox knows; it has no effect", fix };
}

/** A part of the schema with what its `$ref` refers to; what stands beside the `$ref` wins. */
export function resolveSchema(schema: Schema, part: Schema): Schema {
  if (part.$ref === undefined) return part;
  return { ...schema.$defs?.[part.$ref.replace("#/$defs/", "")], ...part };
}
