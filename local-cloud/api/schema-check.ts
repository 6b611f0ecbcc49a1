import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import ajvFormats from "ajv-formats";
import { unprocessable } from "./errors.ts";

/** Checks the body of a request; throws a 422 that names the first thing wrong. */
export type BodyCheck = (operation: string, body: unknown) => void;

/**
 * A check of request bodies against DigitalOcean's OpenAPI file (`request-schemas.json`). Each operation's schema is compiled when it is
 * first asked for: few are, and compiling all would cost memory.
 */
export function makeBodyCheck(): BodyCheck {
  let ajv: Ajv | undefined;
  const checks = new Map<string, ValidateFunction>();
  return (operation, body) => {
    let check = checks.get(operation);
    if (check === undefined) {
      ajv ??= loadSchemas();
      check = ajv.compile({ $ref: `requests#/operations/${operation}` });
      checks.set(operation, check);
    }
    if (!check(body)) throw unprocessable(describe(check.errors ?? []));
  };
}

function loadSchemas(): Ajv {
  const ajv = new Ajv({ strict: false, unicodeRegExp: false });
  ajvFormats.default(ajv);
  const document = JSON.parse(readFileSync(join(import.meta.dirname, "request-schemas.json"), "utf8"));
  // The schemas refer to each other as `#/components/...`, which is relative to this document.
  ajv.addSchema({ $id: "requests", ...document });
  return ajv;
}

/** The error that lies deepest: of alternatives, it is of the one that fits best. */
function describe(errors: readonly ErrorObject[]): string {
  const depth = (error: ErrorObject) => error.instancePath.split("/").length;
  const [deepest] = errors
    .filter((error) => !["oneOf", "anyOf", "allOf"].includes(error.keyword))
    .sort((one, other) => depth(other) - depth(one));
  if (deepest === undefined) return "The body is not valid.";
  const allowed = deepest.keyword === "enum" ? `: ${(deepest.params.allowedValues as unknown[]).join(", ")}` : "";
  return `${deepest.instancePath === "" ? "The body" : deepest.instancePath.slice(1)} ${deepest.message}${allowed}.`;
}
