import { randomBytes } from "node:crypto";
import { isAutoNamed, namedType, type PackageSchema, type ResourceFacts, type TypeSpec } from "./schema.ts";
import { isObject, isSecret, isUnknown, mapValues, type Properties, reveal, secret } from "./wire.ts";

/** One thing that is wrong with the inputs: where, and what to do. */
export interface CheckFailure {
  readonly property: string;
  readonly reason: string;
}

/** How the engine wants names to be made up; `undefined` leaves it to the provider. */
export interface AutoNaming {
  readonly mode: "propose" | "enforce" | "disable";
  readonly proposedName: string;
}

/** Key under which the inputs remember which of them were filled in, so that a made-up name lasts. */
export const defaultsKey = "__defaults";

/** What `checkInputs` needs to know besides the inputs. */
export interface CheckRequest {
  readonly schema: PackageSchema;
  readonly type: string;
  readonly facts: ResourceFacts;
  /** The resource's name in the program: the start of a made-up name. */
  readonly name: string;
  readonly olds: Properties;
  readonly news: Properties;
  readonly autoNaming?: AutoNaming | undefined;
}

/**
 * Checks a resource's inputs against its schema and fills in defaults. Numbers given as text and the like are converted, as the
 * bridge of the official provider does. Secrets keep their mark, values that are not known yet pass.
 * @returns the inputs to use and every failure found; with failures the inputs are not to be used.
 */
export function checkInputs(request: CheckRequest): { inputs: Properties; failures: CheckFailure[] } {
  const { schema, type, facts } = request;
  const spec = schema.resources[type];
  if (spec === undefined) {
    return { inputs: {}, failures: [{ property: "", reason: unknownType(schema, type) }] };
  }
  const failures: CheckFailure[] = [];
  const given = Object.fromEntries(
    Object.entries(request.news).filter(([key, value]) => key !== defaultsKey && value !== null && value !== undefined),
  );
  const inputs = checkObject(schema, given, spec.inputProperties, spec.requiredInputs, "", failures);
  checkAllowed(inputs, facts, failures);
  const filledIn = fillIn(inputs, request, failures);
  return { inputs: filledIn.length > 0 ? { ...inputs, [defaultsKey]: filledIn } : inputs, failures };
}

function unknownType(schema: PackageSchema, type: string): string {
  const known = Object.keys(schema.resources).join(", ");
  return `the ${schema.package} stand-in does not know resource type ${type}; it knows ${known}`;
}

function checkObject(
  schema: PackageSchema,
  value: Properties,
  properties: Readonly<Record<string, TypeSpec>>,
  required: readonly string[],
  path: string,
  failures: CheckFailure[],
): Properties {
  const result: Properties = {};
  for (const [key, item] of Object.entries(value)) {
    const spec = properties[key];
    if (spec === undefined) {
      failures.push({ property: path + key, reason: unknownKey(key, Object.keys(properties)) });
    } else if (item !== null) {
      result[key] = checkValue(schema, item, spec, path + key, failures);
    }
  }
  for (const [key, spec] of Object.entries(properties)) {
    if (spec.default !== undefined && result[key] === undefined) {
      result[key] = spec.default;
    }
  }
  for (const key of required) {
    if (result[key] === undefined) {
      failures.push({ property: path + key, reason: `missing required property '${path}${key}'` });
    }
  }
  return result;
}

function unknownKey(key: string, known: readonly string[]): string {
  const near = known.find((name) => name.toLowerCase() === key.toLowerCase());
  const hint = near === undefined ? `known are ${known.join(", ")}` : `did you mean '${near}'?`;
  return `unknown property '${key}'; ${hint}`;
}

function checkValue(
  schema: PackageSchema,
  value: unknown,
  spec: TypeSpec,
  path: string,
  failures: CheckFailure[],
): unknown {
  if (isSecret(value)) {
    return secret(checkValue(schema, value.value, spec, path, failures));
  }
  if (isUnknown(value)) {
    return value;
  }
  if (spec.$ref !== undefined) {
    return checkReference(schema, value, spec.$ref, path, failures);
  }
  if (spec.type === "array") {
    if (!Array.isArray(value)) {
      return fail(failures, path, "a list", value);
    }
    const items = spec.items;
    return items === undefined
      ? value
      : value.map((item, index) => checkValue(schema, item, items, `${path}[${index}]`, failures));
  }
  if (spec.type === "object") {
    if (!isObject(value)) {
      return fail(failures, path, "an object", value);
    }
    const items = spec.additionalProperties;
    return items === undefined
      ? value
      : mapEntries(value, (key, item) => checkValue(schema, item, items, `${path}.${key}`, failures));
  }
  return checkScalar(value, spec.type, path, failures);
}

function checkReference(
  schema: PackageSchema,
  value: unknown,
  ref: string,
  path: string,
  failures: CheckFailure[],
): unknown {
  const named = namedType(schema, ref);
  if (named === undefined) {
    return value;
  }
  if (named.enum !== undefined) {
    if (!named.enum.includes(String(value))) {
      failures.push({ property: path, reason: `'${String(value)}' is none of ${named.enum.join(", ")}` });
    }
    return value;
  }
  if (!isObject(value)) {
    return fail(failures, path, "an object", value);
  }
  return checkObject(schema, value, named.properties ?? {}, named.required ?? [], `${path}.`, failures);
}

function checkScalar(value: unknown, type: TypeSpec["type"], path: string, failures: CheckFailure[]): unknown {
  switch (type) {
    case "string":
      return typeof value === "string"
        ? value
        : typeof value === "number" || typeof value === "boolean"
          ? String(value)
          : fail(failures, path, "text", value);
    case "boolean":
      return typeof value === "boolean"
        ? value
        : value === "true" || value === "false"
          ? value === "true"
          : fail(failures, path, "true or false", value);
    case "integer":
    case "number": {
      const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
      const fits =
        typeof number === "number" && Number.isFinite(number) && (type === "number" || Number.isInteger(number));
      return fits ? number : fail(failures, path, type === "integer" ? "a whole number" : "a number", value);
    }
    default:
      return value;
  }
}

function fail(failures: CheckFailure[], path: string, wanted: string, value: unknown): unknown {
  // The value itself may be secret, so that only its kind is told.
  const kind = Array.isArray(value) ? "a list" : value === null ? "nothing" : `a ${typeof value}`;
  failures.push({ property: path, reason: `'${path}' must be ${wanted}, but is ${kind}` });
  return value;
}

function checkAllowed(inputs: Properties, facts: ResourceFacts, failures: CheckFailure[]): void {
  for (const [path, allowed] of Object.entries(facts.allowed ?? {})) {
    const [key = "", inner] = path.split("[].");
    const value = reveal(inputs[key]);
    const found = inner === undefined ? [value] : Array.isArray(value) ? value.map((item) => item?.[inner]) : [];
    for (const item of found) {
      if (typeof item === "string" && !isUnknown(item) && !allowed.includes(item)) {
        failures.push({ property: key, reason: `'${item}' is none of ${allowed.join(", ")}` });
      }
    }
  }
}

/** Adds the provider's own defaults to the inputs and returns the sorted names of what was added. */
function fillIn(inputs: Properties, request: CheckRequest, failures: CheckFailure[]): string[] {
  const added: string[] = [];
  for (const [key, value] of Object.entries(request.facts.defaults ?? {})) {
    if (inputs[key] === undefined) {
      inputs[key] = value;
      added.push(key);
    }
  }
  const spec = request.schema.resources[request.type];
  if (spec !== undefined && isAutoNamed(spec, request.facts) && inputs.name === undefined) {
    const name = madeUpName(request);
    if (name === undefined) {
      failures.push({ property: "name", reason: "missing required property 'name': made-up names are switched off" });
    } else {
      inputs.name = name;
      added.push("name");
    }
  }
  return added.sort();
}

function madeUpName({ name, olds, autoNaming }: CheckRequest): unknown {
  const before = olds[defaultsKey];
  if (Array.isArray(before) && before.includes("name") && olds.name !== undefined) {
    return olds.name;
  }
  if (autoNaming?.mode === "disable") {
    return undefined;
  }
  return autoNaming?.proposedName || `${name}-${randomBytes(4).toString("hex").slice(0, 7)}`;
}

function mapEntries(value: Properties, change: (key: string, item: unknown) => unknown): Properties {
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, change(key, item)]));
}

/** Checks a provider's own configuration, of which numbers and flags arrive as JSON text. */
export function checkConfig(schema: PackageSchema, news: Properties): { inputs: Properties; failures: CheckFailure[] } {
  const failures: CheckFailure[] = [];
  const { version, ...given } = mapValues(news, (value) => value);
  checkObject(schema, given, schema.config, [], "", failures);
  return { inputs: version === undefined ? given : { ...given, version }, failures };
}
