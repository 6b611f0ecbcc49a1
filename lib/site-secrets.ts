import { closest } from "./names.ts";
import { renderSecretsFile, secretsFormat } from "./secrets-file.ts";
import type { SiteFile } from "./site-file.ts";
import { UserError } from "./user-error.ts";

/** What config says about the secrets of one service or worker. */
export type ServiceSecret =
  /** Written as the kind of file that the site file's `secrets_config` names. */
  | { readonly keys: Readonly<Record<string, string>> }
  /** A whole file, base64. */
  | { readonly base64: string }
  /**
   * SHA-256 in hex of a file of the older format, which other tools have put into the artifact bucket, and the number of the server's key
   * that opens it.
   */
  | { readonly older: string; readonly key: number };

/** By slug and service. */
export type SecretsConfig = Readonly<Record<string, Readonly<Record<string, ServiceSecret>>>>;

/** The one secrets file of a service or worker. */
export interface SecretsFile {
  readonly service: string;
  /** Its name: the site file's `secrets_config`. */
  readonly file: string;
  readonly content: { readonly base64: string } | { readonly older: string };
}

const prefix = "base64:";

/**
 * Reads `secrets` from config. What has no value at all, as `pulumi config rm` leaves it, is not there.
 * @param value what Pulumi has decrypted
 * @param complain gets the place, such as `secrets.hello.api`, and what is wrong there; never a value
 */
export function readSecretsConfig(value: unknown, complain: (place: string, problem: string) => void): SecretsConfig {
  const sites: [string, Record<string, ServiceSecret>][] = [];
  for (const [slug, services] of entriesOf(value, "secrets", complain)) {
    const read: Record<string, ServiceSecret> = {};
    for (const [service, secret] of entriesOf(services, `secrets.${slug}`, complain)) {
      const one = readSecret(secret, `secrets.${slug}.${service}`, complain);
      if (one !== undefined) read[service] = one;
    }
    if (Object.keys(read).length > 0) sites.push([slug, read]);
  }
  return Object.fromEntries(sites);
}

function readSecret(
  value: unknown,
  place: string,
  complain: (place: string, problem: string) => void,
): ServiceSecret | undefined {
  if (typeof value === "string") return readWholeFile(value, place, complain);
  const entries = entriesOf(value, place, complain);
  const texts = entries.filter((entry): entry is [string, string] => typeof entry[1] === "string");
  for (const [key] of entries.filter(([, text]) => typeof text !== "string")) {
    complain(`${place}.${key}`, "is not a text");
  }
  if (texts.length < entries.length || entries.length === 0) return undefined;
  const keys = Object.fromEntries(texts);
  const { older, key, ...others } = keys;
  if (older === undefined) return { keys };
  const isDigest = /^[0-9a-f]{64}$/.test(older) && /^[1-9][0-9]{0,3}$/.test(key ?? "");
  if (isDigest && Object.keys(others).length === 0) return { older, key: Number(key) };
  complain(
    `${place}.older`,
    "stands for a file that other tools have put into the bucket, and is not as `npx chillbox secrets adopt` writes it. A key cannot have that name",
  );
  return undefined;
}

function readWholeFile(
  value: string,
  place: string,
  complain: (place: string, problem: string) => void,
): ServiceSecret | undefined {
  const base64 = value.slice(prefix.length);
  const isWhole = base64 !== "" && Buffer.from(base64, "base64").toString("base64") === base64;
  if (value.startsWith(prefix) && isWhole) return { base64 };
  complain(place, `is a text and not a whole file (${prefix}...) as \`npx chillbox secrets set\` writes it`);
  return undefined;
}

function entriesOf(
  value: unknown,
  place: string,
  complain: (place: string, problem: string) => void,
): [string, unknown][] {
  if (value === undefined || value === null) return [];
  if (typeof value === "object" && !Array.isArray(value)) return Object.entries(value);
  complain(place, "is not a map");
  return [];
}

/** A whole file as it stands in config. */
export function wholeFile(content: Buffer): string {
  return prefix + content.toString("base64");
}

/** A service or worker that wants a secrets file. */
export interface WantedSecret {
  readonly service: string;
  readonly file: string;
}

/** The services and workers of a site that want a secrets file. */
export function wantedSecrets({ services, workers }: Pick<SiteFile, "services" | "workers">): WantedSecret[] {
  return [...services.filter(({ lang }) => lang !== "immutable"), ...workers].flatMap(
    ({ name, secrets_config: file }) => (file === undefined ? [] : [{ service: name, file }]),
  );
}

/**
 * Finds each secret's service and writes its file.
 * @param keyNumber number of the server's key; default: not known
 * @returns by slug; a site without secrets in config is not there
 * @throws UserError with every problem: a site or service that there is not, a name or value that the kind of file cannot have, a file of
 * the older format for another key
 */
export function siteSecrets(
  sites: readonly SiteFile[],
  config: SecretsConfig,
  keyNumber?: number,
): Map<string, SecretsFile[]> {
  const problems: string[] = [];
  const found = new Map<string, SecretsFile[]>();
  for (const [slug, services] of Object.entries(config)) {
    const site = sites.find((each) => each.slug === slug);
    if (site === undefined) {
      const slugs = sites.map((each) => each.slug);
      problems.push(
        `chillbox:secrets.${slug}: there is no site "${slug}".${suggest(slug, slugs)} Remove it with: npx chillbox secrets rm ${slug}`,
      );
      continue;
    }
    const wanted = wantedSecrets(site);
    const files: SecretsFile[] = [];
    for (const [service, secret] of Object.entries(services)) {
      const file = wanted.find((each) => each.service === service)?.file;
      if (file === undefined) problems.push(unwanted(site, service, wanted));
      else if ("older" in secret && secret.key !== (keyNumber ?? secret.key))
        problems.push(otherKey(slug, service, secret.key));
      else files.push(...fileOf({ service, file }, secret, `chillbox:secrets.${slug}.${service}`, problems));
    }
    found.set(slug, files);
  }
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return found;
}

function unwanted({ slug, services, workers }: SiteFile, service: string, wanted: readonly WantedSecret[]): string {
  const place = `chillbox:secrets.${slug}.${service}`;
  const isThere = [...services, ...workers].some(({ name }) => name === service);
  const names = wanted.map((each) => each.service);
  const what = isThere
    ? `the service "${service}" of ${slug}.site.json has no "secrets_config", so it gets no secrets`
    : `${slug}.site.json has no service "${service}"`;
  return `${place}: ${what}.${suggest(service, names)} Remove it with: npx chillbox secrets rm ${slug} ${service}`;
}

/** What waits because config has no secrets for it: a line each, for people. */
export function unsetSecrets(sites: readonly SiteFile[], config: SecretsConfig): string[] {
  return sites.flatMap((site) =>
    wantedSecrets(site)
      .filter(({ service }) => config[site.slug]?.[service] === undefined)
      .map(
        ({ service, file }) =>
          `${site.slug} ${service} waits for its secrets, ${file}: \`npx chillbox secrets\` says how to set them.`,
      ),
  );
}

/** Only who made it can make it for another key. */
function otherKey(slug: string, service: string, key: number): string {
  return [
    `chillbox:secrets.${slug}.${service} is a file of the older format that only key ${key} of the server opens: it has to stay "serverKeyNumber".`,
    `To have another key, set the file's content first: npx chillbox secrets set ${slug} ${service} <FILE`,
  ].join(" ");
}

function suggest(word: string, words: readonly string[]): string {
  const near = closest(word, words);
  return near === undefined ? "" : ` Did you mean "${near}"?`;
}

function fileOf(wanted: WantedSecret, secret: ServiceSecret, place: string, problems: string[]): SecretsFile[] {
  if ("base64" in secret) return [{ ...wanted, content: secret }];
  if ("older" in secret) return [{ ...wanted, content: { older: secret.older } }];
  const format = secretsFormat(wanted.file);
  const before = problems.length;
  for (const [key, value] of Object.entries(secret.keys)) {
    const problem = format.nameProblem(key) ?? format.valueProblem(value);
    if (problem !== undefined) problems.push(`${place}.${key}: ${problem} (${wanted.file})`);
  }
  if (problems.length > before) return [];
  const text = renderSecretsFile(wanted.file, secret.keys);
  return [{ ...wanted, content: { base64: Buffer.from(text).toString("base64") } }];
}
