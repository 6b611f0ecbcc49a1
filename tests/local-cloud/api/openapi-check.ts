import { readFileSync } from "node:fs";
import { Ajv, type ValidateFunction } from "ajv";
import ajvFormats from "ajv-formats";
import { parse } from "yaml";

interface OpenApi {
  readonly components: { schemas: Record<string, { properties: Record<string, { enum: string[] }> }> };
  readonly paths: Record<string, Record<string, { readonly responses: Record<string, { readonly $ref?: string }> }>>;
}

const file = new URL("../../../local-cloud/api/openapi.yaml", import.meta.url);
const document = parse(readFileSync(file, "utf8")) as OpenApi;
// Clients that give no environment want none back, which the file does not know.
document.components.schemas.project_base?.properties.environment?.enum.push("");
const ajv = new Ajv({ strict: false, unicodeRegExp: false, allErrors: true, validateFormats: true });
ajvFormats.default(ajv);
ajv.addSchema({ $id: "openapi", ...document });
const compiled = new Map<string, ValidateFunction | undefined>();
/** Operations that an answer was checked for, `GET /v2/account`. */
export const seenOperations = new Set<string>();

/** All operations of the file, `GET /v2/account`. */
export const allOperations = Object.entries(document.paths).flatMap(([path, methods]) =>
  Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
);

/**
 * Checks an answer against DigitalOcean's OpenAPI file.
 * @throws Error when the operation has no such status there or the body does not fit.
 */
export function checkAnswer(method: string, path: string, status: number, body: unknown): void {
  const template = findPath(path, method);
  if (template === undefined) return;
  const operation = `${method} ${template}`;
  const responses = document.paths[template]?.[method.toLowerCase()]?.responses ?? {};
  if (status < 300) seenOperations.add(operation);
  if (status < 300 && responses[status] === undefined) throw new Error(`${operation} must not answer ${status}`);
  const check = validator(template, method, responses[status] === undefined ? "default" : String(status));
  if (check === undefined || status === 204) return;
  if (!check(body)) {
    const errors = (check.errors ?? []).map((error) => `${error.instancePath} ${error.message}`).join("; ");
    throw new Error(`${operation} ${status}: ${errors}\n${JSON.stringify(body)}`);
  }
}

function validator(template: string, method: string, status: string): ValidateFunction | undefined {
  const key = `${method} ${template} ${status}`;
  if (!compiled.has(key)) compiled.set(key, compile(template, method, status));
  return compiled.get(key);
}

function compile(template: string, method: string, status: string): ValidateFunction | undefined {
  const response = document.paths[template]?.[method.toLowerCase()]?.responses[status];
  if (response === undefined) return undefined;
  const own = `#/paths/${template.replaceAll("/", "~1")}/${method.toLowerCase()}/responses/${status}`;
  const pointer = `${response.$ref ?? own}/content/application~1json/schema`;
  return resolve(pointer) === undefined ? undefined : ajv.compile({ $ref: `openapi${encode(pointer)}` });
}

/** Braces of path templates are no part of a URI. */
function encode(pointer: string): string {
  return pointer.replaceAll("{", "%7B").replaceAll("}", "%7D");
}

function resolve(pointer: string): unknown {
  const names = pointer.slice(2).split("/");
  let value: unknown = document;
  for (const name of names) {
    value = (value as Record<string, unknown> | undefined)?.[name.replaceAll("~1", "/")];
  }
  return value;
}

/** The template that fits; one without parameters wins. */
function findPath(path: string, method: string): string | undefined {
  const [bare = ""] = path.split("?");
  return Object.keys(document.paths)
    .filter((template) => document.paths[template]?.[method.toLowerCase()] !== undefined)
    .sort((one, other) => one.split("{").length - other.split("{").length)
    .find((template) => new RegExp(`^${template.replace(/\{[^}]+\}/g, "[^/]+")}$`).test(bare));
}
