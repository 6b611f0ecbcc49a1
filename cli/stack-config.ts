import { createHash, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { isMap, parse, parseDocument, YAMLMap, YAMLParseError } from "yaml";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { acmeDirectory } from "../local-cloud/acme/names.ts";
import { acmeFiles } from "../local-cloud/acme/pebble.ts";
import { type Credentials, readCredentials } from "../local-cloud/credentials.ts";
import { readIfThere, writeIfChanged } from "../toolchain/files.ts";
import { askPulumi, type Pulumi, stack, stackExists } from "./pulumi.ts";

/** Configuration of stack `local`: where the local cloud is, and that nothing of it is precious. */
export function plainConfig(settings: LocalCloudSettings): Record<string, string> {
  return {
    apiEndpoint: settings.apiEndpoint,
    spacesEndpoint: "http://{region}.spaces.test",
    serverName: "box.chillbox.test",
    techEmail: "admin@chillbox.test",
    acmeServer: acmeDirectory,
    acmeCaFile: acmeFiles(join(settings.cloud, "acme")).authority,
    // Local droplets reach no mirror of Alpine's.
    automaticUpdates: "false",
    manageDns: "true",
    forceDestroyBuckets: "true",
    protect: "false",
  };
}

function secretConfig(credentials: Credentials): Record<string, string> {
  return {
    apiToken: credentials.token,
    spacesAccessKeyId: credentials.spacesAccessKey,
    spacesSecretAccessKey: credentials.spacesSecretKey,
  };
}

/** A stack's configuration file, as Pulumi names it. */
export function stackConfigFile(settings: LocalCloudSettings, name = stack): string {
  return join(settings.repository, `Pulumi.${name}.yaml`);
}

/** Tells which secrets are in the stack's file. */
function markerFile(settings: LocalCloudSettings): string {
  return join(settings.home, "stack-config");
}

/**
 * Makes stack `local` and its `Pulumi.local.yaml`, if they are missing or belong to another local cloud. Keys that a person added stay, and
 * so do values that a person changed, other than those that say where the local cloud is.
 */
export async function ensureStackConfig(pulumi: Pulumi): Promise<void> {
  const { settings } = pulumi;
  const file = stackConfigFile(settings);
  const credentials = await readCredentials(settings);
  if (!credentials) throw new Error("The local cloud has run and given out no credentials.");
  if (!stackExists(settings)) await askPulumi(pulumi, ["stack", "init", stack, "--no-select", "--non-interactive"]);
  const plain = plainConfig(settings);
  const secrets = secretConfig(credentials);
  const present = await readConfig(file);
  const marker = markerFile(settings);
  // The secrets in the file are encrypted: this tells whether they are these without keeping them.
  const digest = createHash("sha256")
    .update(JSON.stringify([secrets, settings.apiEndpoint]))
    .digest("hex");
  if (isComplete(present, plain, secrets, settings) && (await readIfThere(marker)) === digest) return;

  const temporary = `${file}.${randomBytes(4).toString("hex")}.yaml`;
  try {
    if (existsSync(file)) await copyFile(file, temporary);
    const options = ["--stack", stack, "--config-file", temporary, "--non-interactive"];
    const set = Object.entries(plain).filter(([key]) => mustSet(key, present));
    const pairs = set.flatMap(([key, value]) => ["--plaintext", `${key}=${value}`]);
    if (pairs.length > 0) await askPulumi(pulumi, ["config", "set-all", ...options, ...pairs]);
    for (const [key, value] of Object.entries(secrets)) {
      await askPulumi(pulumi, ["config", "set", ...options, "--secret", key], value);
    }
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
  await writeIfChanged(marker, digest, 0o600);
}

/** Values of the project's own keys in a stack's file, without the namespace; an encrypted one is `{ secure: ... }`. @throws UserError when it is no YAML. */
export async function readConfig(file: string): Promise<Record<string, unknown>> {
  const text = await readIfThere(file);
  const entries = Object.entries(text === undefined ? {} : configIn(text, file));
  return Object.fromEntries(entries.map(([key, value]) => [key.replace(/^chillbox:/, ""), value]));
}

/**
 * Writes one value into a map of a stack's file, which is made if it is missing; everything else in it stays as it is.
 * @param key of the project, without the namespace
 * @throws UserError when the file is no YAML, or the key is something else than a map
 */
export async function setInConfig(file: string, [key, name]: readonly [string, string], value: string): Promise<void> {
  const text = (await readIfThere(file)) ?? "";
  const { [`chillbox:${key}`]: map } = configIn(text, file) as Record<string, unknown>;
  if (!isObject(map ?? {})) throw new UserError(`${file}: "chillbox:${key}" is no map. Remove it.`);
  const document = parseDocument(text);
  const path = ["config", `chillbox:${key}`];
  // Keys without a value are no maps yet.
  for (const part of [path.slice(0, 1), path]) if (!isMap(document.getIn(part))) document.setIn(part, new YAMLMap());
  document.setIn([...path, name], value);
  const mode = await stat(file).then(
    (info) => info.mode & 0o777,
    () => 0o644,
  );
  await writeIfChanged(file, document.toString(), mode);
}

/**
 * Takes everything encrypted out of the stack's file, and with it what was encrypted with: what a person set in plain text stays.
 * @returns whether there was any
 * @throws UserError when the file is no YAML
 */
export async function removeSecrets(settings: LocalCloudSettings): Promise<boolean> {
  await rm(markerFile(settings), { force: true });
  const file = stackConfigFile(settings);
  const text = await readIfThere(file);
  if (text === undefined) return false;
  const secrets = Object.entries(configIn(text, file)).filter(([, value]) => isEncrypted(value));
  const document = parseDocument(text);
  const removed = [
    ...secrets.map(([key]) => document.deleteIn(["config", key])),
    ...["encryptionsalt", "encryptedkey", "secretsprovider"].map((key) => document.has(key) && document.delete(key)),
  ];
  if (!removed.some(Boolean)) return false;
  await writeIfChanged(file, document.toString(), 0o600);
  return true;
}

/** A secret, or a list or map with one in it. */
function isEncrypted(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return "secure" in value || Object.values(value).some(isEncrypted);
}

function configIn(text: string, file: string): object {
  const content = parseYaml(text, file);
  const config = isObject(content) ? content.config : content;
  if (config === undefined || config === null) return {};
  if (!isObject(config)) throw new UserError(`${file} does not look like a stack's configuration: "config" is no map.`);
  return config;
}

function parseYaml(text: string, file: string): unknown {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof YAMLParseError)) throw error;
    // The first line says what and where; an excerpt of the file follows.
    const [what = ""] = error.message.split("\n");
    throw new UserError(`${file} is not valid YAML: ${what.replace(/:$/, "")}. Mend that line, or remove the file.`);
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isComplete(
  present: Record<string, unknown>,
  plain: Record<string, string>,
  secrets: Record<string, string>,
  settings: LocalCloudSettings,
): boolean {
  const all = [...Object.keys(plain), ...Object.keys(secrets)].every((key) => present[key] !== undefined);
  return all && present.apiEndpoint === settings.apiEndpoint && present.acmeCaFile === plain.acmeCaFile;
}

/** Where the cloud is follows the cloud; the rest is only given where nothing is. */
function mustSet(key: string, present: Record<string, unknown>): boolean {
  return ["apiEndpoint", "spacesEndpoint", "acmeServer", "acmeCaFile"].includes(key) || present[key] === undefined;
}
