import { readFileSync } from "node:fs";

/** The type of one property, as Pulumi's package schema writes it. */
export interface TypeSpec {
  readonly type?: "string" | "integer" | "number" | "boolean" | "array" | "object";
  readonly items?: TypeSpec;
  readonly additionalProperties?: TypeSpec;
  readonly $ref?: string;
  readonly default?: string | number | boolean;
  readonly secret?: boolean;
  /** Written by the bridge for properties of which a change replaces the resource. */
  readonly willReplaceOnChanges?: boolean;
  /** The same, written by native providers. */
  readonly replaceOnChanges?: boolean;
}

/** Inputs and outputs of one resource type. */
export interface ResourceSpec {
  readonly properties: Readonly<Record<string, TypeSpec>>;
  readonly inputProperties: Readonly<Record<string, TypeSpec>>;
  readonly requiredInputs: readonly string[];
}

/** A named type: an object, or a list of the only values it can have. */
export interface NamedType {
  readonly properties?: Readonly<Record<string, TypeSpec>>;
  readonly required?: readonly string[];
  readonly enum?: readonly string[];
}

/** The facts of one provider that checks and diffs need. */
export interface PackageSchema {
  readonly package: string;
  /** Version of the published schema from which these facts were taken. */
  readonly schemaReadAt: string;
  readonly config: Readonly<Record<string, TypeSpec>>;
  readonly resources: Readonly<Record<string, ResourceSpec>>;
  readonly types: Readonly<Record<string, NamedType>>;
}

/**
 * What a resource's schema leaves unsaid but its provider does. Keys are input properties.
 */
export interface ResourceFacts {
  /** Values that the provider fills in. */
  readonly defaults?: Readonly<Record<string, unknown>>;
  /** The only values that the provider lets through. */
  readonly allowed?: Readonly<Record<string, readonly string[]>>;
  /** Lists of which the order says nothing. */
  readonly sets?: readonly string[];
  /** Text that is compared without regard to capitals. */
  readonly anyCase?: readonly string[];
  /** Text that is compared without white space around it. */
  readonly trimmed?: readonly string[];
  /** Inputs that the provider decides when they are left out: leaving one out later changes nothing. */
  readonly computed?: readonly string[];
  /** Lists of which a member that goes replaces the resource, although one that comes does not. */
  readonly shrinkReplaces?: readonly string[];
  /** Flags of which switching off replaces the resource, although switching on does not. */
  readonly offReplaces?: readonly string[];
  /** Inputs that the state holds in another form, so that a refresh leaves them alone. */
  readonly notReadBack?: readonly string[];
  /** Outputs that an update may change, hence not known in its preview. */
  readonly volatile?: readonly string[];
  /** Whether `name` is made up when it is left out; default: when the schema does not require it. */
  readonly autoName?: boolean;
}

/** Reads `schemas.json` beside the module at `moduleUrl`. */
export function readSchema(moduleUrl: string): PackageSchema {
  return JSON.parse(readFileSync(new URL("schemas.json", moduleUrl), "utf8")) as PackageSchema;
}

/** Whether the provider makes up a `name` for this resource. */
export function isAutoNamed(spec: ResourceSpec, facts: ResourceFacts): boolean {
  return facts.autoName ?? ("name" in spec.inputProperties && !spec.requiredInputs.includes("name"));
}

/** The named type that a `$ref` points to, or `undefined` for one of Pulumi's own (asset, archive, any). */
export function namedType(schema: PackageSchema, ref: string): NamedType | undefined {
  return ref.startsWith("#/types/") ? schema.types[ref.slice("#/types/".length)] : undefined;
}
