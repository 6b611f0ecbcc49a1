import { isDeepStrictEqual } from "node:util";
import { defaultsKey } from "./check.ts";
import { isAutoNamed, type PackageSchema, type ResourceFacts } from "./schema.ts";
import { asArchive, asAsset, hasUnknown, isObject, type Properties, reveal } from "./wire.ts";

/** How one property changes; the `-replace` kinds make a new resource. */
export type ChangeKind = "add" | "add-replace" | "delete" | "delete-replace" | "update" | "update-replace";

/** What is to be done about a resource whose inputs may have changed. */
export interface Difference {
  /** Changed properties, top level only. */
  readonly changes: ReadonlyMap<string, ChangeKind>;
  /** Those of them that replace the resource. */
  readonly replaces: readonly string[];
  /** Whether the old resource has to go first, because the new one has the same name. */
  readonly deleteBeforeReplace: boolean;
}

/**
 * Compares the inputs that a resource was made from with the new ones. A value that is not known yet counts as changed.
 * Secrecy does not count: a value that only became secret is unchanged.
 */
export function diffInputs(
  schema: PackageSchema,
  type: string,
  facts: ResourceFacts,
  olds: Properties,
  news: Properties,
): Difference {
  const spec = schema.resources[type];
  const changes = new Map<string, ChangeKind>();
  const replaces: string[] = [];
  for (const key of new Set([...Object.keys(olds), ...Object.keys(news)])) {
    const before = reveal(olds[key]);
    const after = reveal(news[key]);
    if (key === defaultsKey || !differs(before, after, key, facts)) {
      continue;
    }
    const property = spec?.inputProperties[key];
    const kind = isAbsent(before) ? "add" : isAbsent(after) ? "delete" : "update";
    if (property?.willReplaceOnChanges || property?.replaceOnChanges || takesAway(before, after, key, facts)) {
      replaces.push(key);
      changes.set(key, `${kind}-replace`);
    } else {
      changes.set(key, kind);
    }
  }
  const named = spec !== undefined && isAutoNamed(spec, facts) && !wasMadeUp(news, "name");
  return { changes, replaces, deleteBeforeReplace: replaces.length > 0 && named };
}

/** Changes that replace the resource in one direction only. */
function takesAway(before: unknown, after: unknown, key: string, facts: ResourceFacts): boolean {
  if (hasUnknown(after)) {
    return false;
  }
  if (facts.shrinkReplaces?.includes(key) && Array.isArray(before)) {
    return before.some((item) => !(Array.isArray(after) && after.includes(item)));
  }
  return facts.offReplaces?.includes(key) === true && before === true;
}

function isAbsent(value: unknown): boolean {
  return value === undefined || value === null;
}

function wasMadeUp(inputs: Properties, key: string): boolean {
  const defaults = inputs[defaultsKey];
  return Array.isArray(defaults) && defaults.includes(key);
}

/** `false` when both values mean the same for this property: sets in another order, text in other capitals. */
export function differs(before: unknown, after: unknown, key: string, facts: ResourceFacts): boolean {
  if (isAbsent(after) && (isAbsent(before) || facts.computed?.includes(key))) {
    return false;
  }
  if (hasUnknown(after)) {
    return true;
  }
  return !isDeepStrictEqual(comparable(before, key, facts), comparable(after, key, facts));
}

function comparable(value: unknown, key: string, facts: ResourceFacts): unknown {
  let result = plain(value);
  if (facts.trimmed?.includes(key) && typeof result === "string") {
    result = result.trim();
  }
  if (facts.anyCase?.includes(key)) {
    result = lowered(result);
  }
  return facts.sets?.includes(key) ? sorted(result) : result;
}

/** Assets compare by their content's hash: where the file lies says nothing. */
function plain(value: unknown): unknown {
  const marked = asAsset(value) ?? asArchive(value);
  if (marked?.hash !== undefined) {
    return marked.hash;
  }
  if (Array.isArray(value)) {
    return value.map(plain);
  }
  if (isObject(value)) {
    const entries = Object.entries(value).filter(([, item]) => !isAbsent(item));
    return Object.fromEntries(entries.map(([name, item]) => [name, plain(item)]));
  }
  return value;
}

function lowered(value: unknown): unknown {
  return Array.isArray(value) ? value.map(lowered) : typeof value === "string" ? value.toLowerCase() : value;
}

/** Lists as sets, also those inside (the addresses of a firewall rule). */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    const texts = value.map((item) => JSON.stringify(sorted(item)));
    return [...new Set(texts)].sort();
  }
  if (isObject(value)) {
    return Object.fromEntries(
      Object.entries(value)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, item]) => [name, sorted(item)]),
    );
  }
  return value;
}
