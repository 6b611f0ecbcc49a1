import { existsSync } from "node:fs";
import { join } from "node:path";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { slugOfSiteFile } from "../lib/names.ts";
import { OtherHostKey } from "../lib/other-host-key.ts";
import { readSiteFile } from "../lib/site-file.ts";
import { type ServiceSecret, wantedSecrets } from "../lib/site-secrets.ts";
import { UserError } from "../lib/user-error.ts";
import { askServer } from "./ask-server.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { hasPlainText, readSetSecrets } from "./secrets-config.ts";
import { listSiteFiles, sitesFolder } from "./sites-folder.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";
import { upCommand } from "./stack-outputs.ts";
import { duration } from "./status.ts";
import { plainText, renderTable } from "./table.ts";

/** What `chillbox-secrets list` prints on the server. */
export interface ServerSecrets {
  /** Whether some need `npx chillbox unlock`. */
  readonly locked: boolean;
  readonly secrets: readonly ServerSecret[];
}

export interface ServerSecret {
  readonly slug: string;
  readonly service: string;
  readonly file: string;
  /** Of the encrypted file, in hex; null while it waits. */
  readonly sha256: string | null;
  /** When it was encrypted, in milliseconds since the epoch; null for an older file and while it waits. */
  readonly number: number | null;
  /** When the server got it: UTC, ISO 8601. */
  readonly since: string | null;
  /** waiting: the release in use wants it and the server never had it. */
  readonly state: "open" | "locked" | "waiting";
}

/** A service that wants a secrets file, what config has for it and what the server has. */
export interface SecretRow {
  readonly slug: string;
  readonly service: string;
  readonly file: string;
  readonly set: "keys" | "file" | "older" | "no";
  /** Names of the keys, if it is set by keys. */
  readonly keys?: readonly string[];
  /** In config, decrypted; of a whole file its own size. */
  readonly bytes?: number;
  /** null: the server does not have it, or could not be asked. */
  readonly server: Pick<ServerSecret, "state" | "since" | "number"> | null;
}

export interface SecretsList {
  readonly secrets: readonly SecretRow[];
  /** Whether a value can be read in the stack's file. */
  readonly plainText: boolean;
  /** Whether the server is locked; null when it could not be asked, with the reason. */
  readonly locked: boolean | null;
  readonly unreachable?: string;
}

/** Prints what the services of a stack's sites want, what is set and what the server has. Never a value. */
export async function listSecrets({ stack, json }: { stack: string; json: boolean }): Promise<void> {
  const list = await readList(stack);
  process.stdout.write(json ? `${JSON.stringify(list, undefined, 2)}\n` : renderList(list, stack));
}

async function readList(stack: string): Promise<SecretsList> {
  const file = stackConfigFile(localCloudSettings(), stack);
  if (stack !== stackOfLocalCloud && !existsSync(file)) {
    throw new UserError(`There is no ${file}: give --stack the name of one of your stacks.`);
  }
  const folder = await sitesFolder(localCloudSettings(), stack);
  const [config, { secrets: inFile }, names, server] = await Promise.all([
    readSetSecrets(stack),
    readConfig(file),
    listSiteFiles(folder),
    askIfThere(stack),
  ]);
  const sites = await Promise.all(names.map((name) => readSiteFile(join(folder, name))));
  const rows = sites.flatMap((site) =>
    wantedSecrets(site).map(({ service, file }) => {
      const found = server.answer?.secrets.find((each) => each.slug === site.slug && each.service === service);
      return { slug: site.slug, service, file, ...describe(config[site.slug]?.[service]), server: found ?? null };
    }),
  );
  // What is set for nobody stands below: `up` refuses it.
  const slugs = new Set(names.map(slugOfSiteFile));
  const strays = Object.entries(config).flatMap(([slug, services]) =>
    Object.entries(services)
      .filter(([service]) => !slugs.has(slug) || !rows.some((row) => row.slug === slug && row.service === service))
      .map(([service, secret]) => ({ slug, service, file: "", ...describe(secret), server: null })),
  );
  const unreachable = server.problem === undefined ? {} : { unreachable: server.problem };
  return {
    secrets: [...rows, ...strays],
    plainText: inFile !== undefined && hasPlainText(inFile),
    locked: server.answer?.locked ?? null,
    ...unreachable,
  };
}

/** A stack that has no server yet, or none that answers, can have its secrets set. Another host in its place is no server. */
async function askIfThere(stack: string): Promise<{ answer?: ServerSecrets; problem?: string }> {
  try {
    return { answer: await askServer<ServerSecrets>(stack, "doas chillbox-secrets list") };
  } catch (error) {
    if (!(error instanceof UserError) || error instanceof OtherHostKey) throw error;
    return { problem: error.message };
  }
}

function describe(secret: ServiceSecret | undefined): Pick<SecretRow, "set" | "keys" | "bytes"> {
  if (secret === undefined) return { set: "no" };
  if ("older" in secret) return { set: "older" };
  if ("base64" in secret) return { set: "file", bytes: Buffer.from(secret.base64, "base64").length };
  const bytes = Object.values(secret.keys).reduce((sum, value) => sum + value.length, 0);
  return { set: "keys", keys: Object.keys(secret.keys).sort(), bytes };
}

/** @param now milliseconds since 1970 */
export function renderList(list: SecretsList, stack: string, now: number = Date.now()): string {
  const rows = list.secrets.map((row) => [row.slug, row.service, row.file, inConfig(row), onServer(row, list, now)]);
  const table =
    rows.length > 0
      ? renderTable([["SITE", "SERVICE", "FILE", "IN CONFIG", "ON THE SERVER"], ...rows])
      : "No service wants a secret.\n";
  const notes = [...notesOf(list, stack)].map((note) => `${note}\n`).join("");
  return plainText(notes === "" ? table : `${table}\n${notes}`);
}

function inConfig({ set, keys = [], bytes }: SecretRow): string {
  if (set === "no") return "not set";
  if (set === "older") return "a file of the older format";
  return set === "file" ? `a file, about ${bytes} bytes` : keys.join(", ");
}

function onServer({ server, file }: SecretRow, { locked }: SecretsList, now: number): string {
  if (locked === null) return "?";
  if (file === "" || server === null) return "no";
  if (server.state === "waiting") return "waits for it";
  const age =
    server.since === null ? "" : `, for ${duration(Math.max(0, Math.round((now - Date.parse(server.since)) / 1000)))}`;
  return `${server.state}${age}`;
}

function* notesOf(list: SecretsList, stack: string): Generator<string> {
  const other = stack === stackOfLocalCloud ? "" : ` --stack ${stack}`;
  for (const { slug, service, file } of list.secrets.filter(({ file, set }) => file !== "" && set === "no")) {
    yield `${slug} ${service} gets no ${file} yet. Key by key, or as a whole file:`;
    yield `  pulumi config set --secret --path 'secrets.${slug}.${service}.KEY' --stack ${stack}`;
    yield `  npx chillbox secrets set ${slug} ${service}${other} <FILE`;
  }
  for (const { slug, service } of list.secrets.filter(({ file }) => file === "")) {
    yield `${slug} ${service} wants no secret, so that \`up\` refuses what is set: npx chillbox secrets rm ${slug} ${service}${other}`;
  }
  if (list.plainText) {
    yield `Some values in Pulumi.${stack}.yaml are not encrypted. Take them as known, remove them and set others with --secret.`;
  }
  if (list.locked) yield `The server is locked: npx chillbox unlock${other}`;
  const late = list.secrets.filter(({ set, server }) => set !== "no" && server?.state === "waiting");
  if (late.length > 0) yield `What is set and not on the server gets there with: ${upCommand(stack)}`;
  if (list.unreachable !== undefined) yield `The server was not asked: ${list.unreachable}`;
}
