import { Resolver } from "node:dns/promises";
import { join } from "node:path";
import { accountKey } from "../lib/certs/account-key.ts";
import { addText, type DnsApi, removeText, type TextRecord, untilPublished, zoneOf } from "../lib/certs/dns-records.ts";
import {
  type CertificateRequest,
  checkNames,
  type Failure,
  nextFailure,
  reasonToOrder,
  renewalId,
} from "../lib/certs/due.ts";
import type { Authority, Challenge } from "../lib/certs/order.ts";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import type { SshConnection } from "../lib/open-ssh.ts";
import { readSiteFiles, type SiteFile } from "../lib/site-file.ts";
import { UserError } from "../lib/user-error.ts";
import { acmeDirectory, acmeName } from "../local-cloud/acme/names.ts";
import { readIfThere, writeIfChanged } from "../toolchain/files.ts";
import { say } from "../toolchain/progress.ts";
import { ask, openServer, run } from "./connection.ts";
import { askPulumi, stack as stackOfLocalCloud } from "./pulumi.ts";
import { sitesFolder } from "./sites-folder.ts";
import { aloneWithStack } from "./stack-lock.ts";
import { pulumiFor, readOutputs, upCommand } from "./stack-outputs.ts";
import type { CertificateStatus } from "./status.ts";
import { plainText, renderTable } from "./table.ts";

export interface CertsRequest {
  readonly stack: string;
  /** Only these sites; none: all with a wildcard. */
  readonly slugs: readonly string[];
  /** New certificates also where none is due. */
  readonly force: boolean;
}

/** What is remembered on the laptop: `<home>/certs-<stack>.json`. */
interface Memory {
  /** Records that may be in DNS: each is noted before it is made, so that one of a killed run is removed by the next. */
  readonly records: readonly TextRecord[];
  /** By slug. */
  readonly failures: Readonly<Record<string, Failure>>;
}

/** Prints the certificates of a stack's server, and orders those with a wildcard that are due. */
export async function certificates(request: CertsRequest): Promise<void> {
  const settings = localCloudSettings();
  const command = "npx chillbox certs";
  await aloneWithStack(settings, command, () => renewAndList(settings, request), request.stack);
}

async function renewAndList(settings: LocalCloudSettings, request: CertsRequest): Promise<void> {
  const renewing = await renewOnLaptop(settings, request).catch((error: unknown) => error as Error);
  const client = await openServer(request.stack);
  try {
    process.stdout.write(renderCertificates(await ask(client, "doas chillbox-certs status")));
  } finally {
    client.end();
  }
  if (renewing instanceof Error) throw renewing;
}

/**
 * Orders the certificates with a wildcard that are due, whose challenge takes the token for DNS. Keys stay on the server: a request for a
 * certificate comes from there, and what the CA makes of it goes back. Whoever is killed meanwhile leaves the old certificate in use.
 * @throws UserError naming each site whose certificate cannot be had, when all others are done
 */
export async function renewOnLaptop(
  settings: LocalCloudSettings,
  { stack, slugs, force }: CertsRequest,
): Promise<void> {
  const client = await openServer(stack);
  try {
    const all = await ask<CertificateStatus[]>(client, "doas chillbox-certs status");
    const known = all.filter(({ byLaptop }) => byLaptop === true).map(({ slug }) => slug);
    const odd = slugs.find((slug) => !known.includes(slug));
    if (odd !== undefined) {
      throw new UserError(`The server has no site ${odd} with a wildcard. It gets the other certificates by itself.`);
    }
    const sites = await readSiteFiles(await sitesFolder(settings, stack));
    const renewal = new Renewal(settings, stack, client, sites);
    const problems: string[] = [];
    for (const slug of slugs.length > 0 ? slugs : known) {
      const problem = await renewal.renew(slug, { force, now: slugs.length > 0 });
      if (problem !== undefined) problems.push(`${slug} gets no certificate: ${problem}`);
    }
    if (problems.length > 0) throw new UserError(problems.join("\n"));
  } finally {
    client.end();
  }
}

class Renewal {
  readonly #settings: LocalCloudSettings;
  readonly #stack: string;
  readonly #client: SshConnection;
  readonly #sites: readonly SiteFile[];
  #api: DnsApi | undefined;

  constructor(settings: LocalCloudSettings, stack: string, client: SshConnection, sites: readonly SiteFile[]) {
    this.#settings = settings;
    this.#stack = stack;
    this.#client = client;
    this.#sites = sites;
  }

  /**
   * @param options.now also when it failed a short while ago
   * @returns why there is none; not for what is put off because it failed
   */
  async renew(slug: string, options: { force: boolean; now: boolean }): Promise<string | undefined> {
    const { failures } = await this.#recall();
    const before = failures[slug];
    if (before && !options.now && Date.parse(before.next) > Date.now()) {
      return `${before.reason} Tried again after ${before.next}; \`npx chillbox certs ${slug}\` tries at once.`;
    }
    try {
      await this.#cleanUp();
      const request = await ask<CertificateRequest>(this.#client, `doas chillbox-certs csr ${slug}`);
      checkNames(slug, request.names, this.#sites);
      const reason = options.force ? "you want it" : await this.#reason(request);
      if (reason === undefined) return undefined;
      say(`${slug}: ordering a certificate for ${request.names.join(", ")} (${reason})`);
      const chain = await this.#order(request);
      const said = await run(this.#client, `doas chillbox-certs put ${slug}`, chain);
      if (said.code !== 0) throw new UserError(said.errors.trim().replace(/^chillbox-[a-z-]+: fatal: /gm, ""));
      say(`${slug}: the server has it, until ${(JSON.parse(said.output) as { until: string }).until}`);
      await this.#remember({ failures: without(failures, slug) });
      return undefined;
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      await this.#remember({ failures: { ...failures, [slug]: nextFailure(before, error.message, Date.now()) } });
      return error.message;
    }
  }

  async #reason(request: CertificateRequest): Promise<string | undefined> {
    const due = reasonToOrder(request, undefined, Date.now());
    if (due !== undefined || request.certificate === null) return due;
    const { askWindow } = await import("../lib/certs/order.ts");
    const id = renewalId(request.certificate);
    const window = id && (await askWindow(await this.#authority(request, request.directory), id));
    return window ? reasonToOrder(request, window, Date.now()) : undefined;
  }

  async #order(request: CertificateRequest): Promise<string> {
    const { unlock } = await readOutputs(this.#stack);
    if (!unlock) throw new UserError(`The server has no key for secrets yet: \`${upCommand(this.#stack)}\` makes it.`);
    // Loaded here: most runs order nothing.
    const { order } = await import("../lib/certs/order.ts");
    const { names, csr, email, directory, trial, certificate } = request;
    const key = accountKey(unlock.passphrase);
    const replaces = certificate?.directory === directory ? renewalId(certificate) : undefined;
    const one = async (from: string, more: { replaces?: string }) => {
      const authority = await this.#authority(request, from);
      try {
        return await order({ authority, accountKey: key, email, names, csr, ...more }, (asked) => this.#publish(asked));
      } finally {
        await this.#cleanUp();
      }
    };
    if (trial !== null && certificate === null) {
      await one(trial, {});
      say("the order on trial was filled: now the real one");
    }
    return one(directory, replaces === undefined ? {} : { replaces });
  }

  async #publish(challenges: readonly Challenge[]): Promise<void> {
    const api = await this.#dns();
    const records: TextRecord[] = [];
    for (const { name, value } of challenges) records.push({ zone: await zoneOf(api, name), name, value });
    await this.#remember({ records: [...(await this.#recall()).records, ...records] });
    for (const record of records) await addText(api, record);
    const servers = this.#isLocal() ? [`127.0.0.1:${this.#settings.ports.dns}`] : undefined;
    await untilPublished(records, servers);
  }

  /** Takes out of DNS what this run or a killed one has put there. */
  async #cleanUp(): Promise<void> {
    const { records } = await this.#recall();
    if (records.length === 0) return;
    const api = await this.#dns();
    for (const record of records) await removeText(api, record);
    await this.#remember({ records: [] });
  }

  /** The token is asked for when it is needed, and kept nowhere. */
  async #dns(): Promise<DnsApi> {
    if (this.#api) return this.#api;
    const words = ["config", "--stack", this.#stack, "--show-secrets", "--json", "--non-interactive"];
    const config = JSON.parse(await askPulumi(await pulumiFor(this.#stack), words)) as Record<
      string,
      { value?: string }
    >;
    const value = (key: string) => config[`chillbox:${key}`]?.value;
    const token = value("apiToken");
    if (token === undefined)
      throw new UserError(`Stack ${this.#stack} has no token: pulumi config set --secret apiToken`);
    this.#api = { endpoint: value("apiEndpoint") ?? "https://api.digitalocean.com", token };
    return this.#api;
  }

  /** The local cloud's ACME server has a name that only droplets find, and a port of this copy's own. */
  async #authority({ ca }: CertificateRequest, directory: string): Promise<Authority> {
    if (!this.#isLocal() || directory !== acmeDirectory) return { directory, ca };
    const { dns, acme: port } = this.#settings.ports;
    const resolver = new Resolver();
    resolver.setServers([`127.0.0.1:${dns}`]);
    const [address] = await resolver.resolve4(acmeName).catch(() => []);
    if (!address) throw new UserError("The local cloud does not run: npx chillbox cloud start");
    return { directory, ca, at: { address, port } };
  }

  #isLocal(): boolean {
    return this.#stack === stackOfLocalCloud;
  }

  #file(): string {
    return join(this.#settings.home, `certs-${this.#stack}.json`);
  }

  async #recall(): Promise<Memory> {
    const nothing: Memory = { records: [], failures: {} };
    const text = await readIfThere(this.#file());
    return text === undefined ? nothing : { ...nothing, ...(JSON.parse(text) as Partial<Memory>) };
  }

  async #remember(changes: Partial<Memory>): Promise<void> {
    const memory = { ...(await this.#recall()), ...changes };
    await writeIfChanged(this.#file(), `${JSON.stringify(memory, undefined, 2)}\n`, 0o600);
  }
}

/** Certificates as a table for a person. */
export function renderCertificates(all: readonly CertificateStatus[]): string {
  const rows = all.map(({ slug, names, certificate, byLaptop, failing }) => [
    slug === "_server" ? "(server)" : slug,
    certificate ? certificate.expires.slice(0, 10) : "none",
    byLaptop ? "npx chillbox certs" : "the server",
    names.map((name) => (failing.some((each) => each.name === name) ? `${name} (fails)` : name)).join(", "),
  ]);
  return plainText(renderTable([["SITE", "UNTIL", "RENEWED BY", "NAMES"], ...rows]));
}

function without<Value>(all: Readonly<Record<string, Value>>, key: string): Record<string, Value> {
  return Object.fromEntries(Object.entries(all).filter(([name]) => name !== key));
}
