import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import type { ErrorObject, ValidateFunction } from "ajv";
import { sha256 } from "./archive.ts";
import { isSiteFile, slugOfSiteFile } from "./names.ts";
import { UserError } from "./user-error.ts";

export interface NameAndValue {
  readonly name: string;
  readonly value: string;
}

/** A service as the site file has it. Fields that only the other kind of service has are absent. */
export interface ServiceEntry {
  readonly name: string;
  readonly lang: "immutable" | "python";
  readonly handler: string;
  readonly environment: readonly NameAndValue[];
  readonly workers?: number;
  readonly worker_class?: "sync" | "gevent" | "uvicorn.workers.UvicornWorker";
  readonly max_requests?: number;
  readonly max_requests_jitter?: number;
  readonly log_level?: "debug" | "info" | "warning" | "error" | "critical";
  readonly niceness?: number;
}

/** A checked site file. */
export interface SiteFile {
  readonly slug: string;
  /** Absolute path of the file. */
  readonly path: string;
  /** SHA-256 in hex of the schema and the file's text. */
  readonly digest: string;
  readonly name: string;
  readonly serverName: string;
  readonly domains: readonly string[];
  /** As written: see `release.ts`. */
  readonly release: string;
  /** Fallback for a release whose Makefile tells no version. */
  readonly version?: string;
  readonly env: readonly NameAndValue[];
  readonly services: readonly ServiceEntry[];
  /** About keys without effect: nothing fails because of them. */
  readonly warnings: readonly string[];
}

export interface ReadSiteOptions {
  /** Folder in which `rememberChecked` noted which texts fit the schema. Without it every file is checked anew. */
  readonly checkedFolder?: string;
}

const schemaPath = join(dirname(fileURLToPath(import.meta.url)), "..", "site.schema.json");
let validator: Promise<ValidateFunction> | undefined;

/**
 * Reads all site files of a folder, in the order of their slugs.
 * @throws UserError with every problem of every file, or when two sites want the same domain
 */
export async function readSiteFiles(folder: string, options: ReadSiteOptions = {}): Promise<SiteFile[]> {
  const names = await readdir(folder).catch(() => {
    throw new UserError(
      `The folder of the site files, ${folder}, cannot be read. Make it, or set "sitesFolder" to the right one.`,
    );
  });
  const sites: SiteFile[] = [];
  const problems: string[] = [];
  for (const name of names.filter(isSiteFile).sort()) {
    try {
      sites.push(await readSiteFile(join(folder, name), options));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      problems.push(error.message);
    }
  }
  problems.push(...sharedDomains(sites));
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return sites;
}

/**
 * Reads and checks one site file.
 * @throws UserError with every problem of the file, one a line
 */
export async function readSiteFile(path: string, options: ReadSiteOptions = {}): Promise<SiteFile> {
  const slug = slugOfSiteFile(path.slice(path.lastIndexOf("/") + 1));
  const file = relative(process.cwd(), path).startsWith("..") ? path : relative(process.cwd(), path);
  const text = await readFile(path, "utf8");
  const content = parseJson(text, file);
  const digest = sha256(`${await readFile(schemaPath, "utf8")}\0${text}`);
  await checkAgainstSchema(content, file, options.checkedFolder && join(options.checkedFolder, digest));
  const raw = content as RawSiteFile;
  const problems = [...notBuiltYet(raw, file), ...contradictions(raw, file)];
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return {
    slug,
    path,
    digest,
    name: raw.name,
    serverName: raw.server_name,
    domains: raw.domain_list,
    release: raw.release,
    ...(raw.version === undefined ? {} : { version: raw.version }),
    env: (raw.env ?? []) as NameAndValue[],
    services: (raw.services ?? []) as ServiceEntry[],
    warnings: [...(await unknownKeys(content, file)), ...withoutEffect(raw, file)],
  };
}

interface RawSiteFile {
  readonly name: string;
  readonly server_name: string;
  readonly release: string;
  readonly domain_list: readonly string[];
  readonly version?: string;
  readonly env?: readonly { name: string; value?: string; cmd?: string }[];
  readonly crontab?: readonly string[];
  readonly redis?: object;
  readonly services?: readonly (Omit<ServiceEntry, "lang"> & RawServiceKeys)[];
  readonly workers?: readonly object[];
}

/** Keys of a service that the schema allows and that have no use yet. */
interface RawServiceKeys {
  readonly lang: string;
  readonly secrets_config?: string;
  readonly workers_minimum?: number;
  readonly workers_maximum?: number;
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${file} is not valid JSON: ${(error as Error).message}.`);
  }
}

/**
 * Compiling the schema takes a tenth of a second, the most of what a run without changes does here. The outcome depends on two texts
 * alone, so a good one can be remembered under their digest.
 */
async function checkAgainstSchema(content: unknown, file: string, mark: string | undefined): Promise<void> {
  if (mark !== undefined && existsSync(mark)) return;
  validator ??= compileSchema();
  const validate = await validator;
  if (!validate(content)) throw new UserError(describe(validate.errors ?? [], content, file));
}

/** Remembers that these site files fit the schema: an empty file each. Call it when all else is good, too. */
export async function rememberChecked(sites: readonly SiteFile[], folder: string): Promise<void> {
  const marks = sites.map(({ digest }) => join(folder, digest)).filter((mark) => !existsSync(mark));
  if (marks.length > 0) await mkdir(folder, { recursive: true });
  for (const mark of marks) await writeFile(mark, "");
}

async function compileSchema(): Promise<ValidateFunction> {
  // Loaded here, because most runs need no check.
  const { Ajv2020 } = await import("ajv/dist/2020.js");
  const schema = JSON.parse(await readFile(schemaPath, "utf8"));
  return new Ajv2020({ allErrors: true, allowUnionTypes: true, strictRequired: false }).compile(schema);
}

/** One line a problem: file, path within it, what is wrong. */
function describe(errors: readonly ErrorObject[], content: unknown, file: string): string {
  const lines = errors
    // "anyOf" only sums up the errors of its branches.
    .filter((error) => error.keyword !== "anyOf")
    .map((error) => `${file}: ${keyPath(error.instancePath)}${explain(error, content)}.`);
  return [...new Set(lines)].join("\n");
}

function explain(error: ErrorObject, content: unknown): string {
  const value = valueAt(content, error.instancePath);
  const shown = JSON.stringify(value)?.slice(0, 80);
  switch (error.keyword) {
    case "required":
      return `lacks "${error.params.missingProperty}"`;
    case "enum":
      return `is ${shown}; it should be one of ${(error.params.allowedValues as unknown[]).join(", ")}`;
    case "pattern":
      return `is ${shown}, which does not match ${error.params.pattern}`;
    case "type":
      return `is ${shown}; it should be of type ${error.params.type}`;
    default:
      return `is ${shown}: ${error.message}`;
  }
}

function keyPath(instancePath: string): string {
  if (instancePath === "") return "the file ";
  const path = instancePath
    .slice(1)
    .split("/")
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part.replaceAll("~1", "/").replaceAll("~0", "~")}`))
    .join("");
  return `"${path.replace(/^\./, "")}" `;
}

function valueAt(content: unknown, instancePath: string): unknown {
  let value = content;
  for (const part of instancePath.split("/").slice(1)) value = (value as Record<string, unknown>)[part];
  return value;
}

/** Parts of the contract that chillbox cannot do yet. Refusing them beats a site that half works. */
function notBuiltYet(raw: RawSiteFile, file: string): string[] {
  const found: string[] = [];
  if (raw.redis !== undefined) found.push('"redis"');
  if ((raw.workers ?? []).length > 0) found.push('"workers"');
  if ((raw.crontab ?? []).length > 0) found.push('"crontab"');
  for (const [index, variable] of (raw.env ?? []).entries()) {
    if (variable.value === undefined) found.push(`"env[${index}].cmd" (of ${variable.name})`);
  }
  for (const [index, service] of (raw.services ?? []).entries()) {
    if (service.lang === "chill") found.push(`"services[${index}].lang": "chill" (of ${service.name})`);
    if (service.secrets_config !== undefined) found.push(`"services[${index}].secrets_config" (of ${service.name})`);
  }
  return found.map(
    (what) => `${file}: ${what} is not built yet; it comes in a later version. Take it out to deploy the rest.`,
  );
}

/** The number of workers stays as `workers` says: a site works without these keys, so they stop no deployment. */
function withoutEffect(raw: RawSiteFile, file: string): string[] {
  return (raw.services ?? []).flatMap((service, index) =>
    (["workers_minimum", "workers_maximum"] as const)
      .filter((key) => service[key] !== undefined)
      .map((key) => {
        const place = `"services[${index}].${key}" (of ${service.name})`;
        return `${file}: ${place} has no effect yet; it comes in a later version. "workers" tells how many there are.`;
      }),
  );
}

function contradictions(raw: RawSiteFile, file: string): string[] {
  const problems: string[] = [];
  if (!raw.domain_list.includes(raw.server_name)) {
    problems.push(`${file}: "server_name" is "${raw.server_name}", which is not in "domain_list". Add it there.`);
  }
  const names = new Set<string>();
  for (const { name } of raw.services ?? []) {
    if (names.has(name)) problems.push(`${file}: two services have the name "${name}". Rename one.`);
    names.add(name);
  }
  return problems;
}

function sharedDomains(sites: readonly SiteFile[]): string[] {
  const owners = new Map<string, string>();
  const problems: string[] = [];
  for (const { slug, domains } of sites) {
    for (const domain of domains) {
      const owner = owners.get(domain);
      if (owner !== undefined)
        problems.push(`The sites "${owner}" and "${slug}" both have the domain ${domain}. Take it out of one.`);
      owners.set(domain, slug);
    }
  }
  return problems;
}

/** Names every key that the schema does not have: older site files have some, and a typing mistake looks the same. */
async function unknownKeys(content: unknown, file: string): Promise<string[]> {
  const schema = JSON.parse(await readFile(schemaPath, "utf8")) as Schema;
  const found: string[] = [];
  look(content, schema, "");
  return found.map((path) => `${file}: "${path}" is not a key that chillbox knows; it has no effect.`);

  function look(value: unknown, part: Schema, path: string): void {
    const resolved = part.$ref ? (schema.$defs?.[part.$ref.replace("#/$defs/", "")] ?? {}) : part;
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) look(item, resolved.items ?? {}, `${path}[${index}]`);
    } else if (value !== null && typeof value === "object" && resolved.properties) {
      for (const [key, child] of Object.entries(value)) {
        const childPath = path === "" ? key : `${path}.${key}`;
        const known = resolved.properties[key];
        if (known) look(child, known, childPath);
        else found.push(childPath);
      }
    }
  }
}

interface Schema {
  readonly $ref?: string;
  readonly $defs?: Record<string, Schema>;
  readonly properties?: Record<string, Schema>;
  readonly items?: Schema;
}
