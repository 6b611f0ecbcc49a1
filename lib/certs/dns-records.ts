import { Resolver } from "node:dns/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../user-error.ts";

/** A text record that answers a challenge. */
export interface TextRecord {
  readonly zone: string;
  /** The whole name, such as `_acme-challenge.example.com`. */
  readonly name: string;
  readonly value: string;
}

/** DigitalOcean's API for DNS. */
export interface DnsApi {
  /** Base URL without a path. */
  readonly endpoint: string;
  readonly token: string;
}

/** Seconds that others may keep an answer: the shortest that DigitalOcean takes, rounded up. */
const ttl = 60;
const patience = 20_000;
/** How long a record may take until all of the zone's servers tell it. */
const publishMs = 180_000;

/**
 * The zone of the account that a name is in: the longest.
 * @throws UserError when there is none
 */
export async function zoneOf(api: DnsApi, name: string): Promise<string> {
  const zones: string[] = [];
  for (let page = 1; ; page++) {
    const { domains, links } = await ask<{ domains: { name: string }[]; links?: { pages?: { next?: string } } }>(
      api,
      "GET",
      `domains?per_page=200&page=${page}`,
    );
    zones.push(...domains.map((domain) => domain.name));
    if (domains.length === 0 || links?.pages?.next === undefined) break;
  }
  const fitting = zones.filter((zone) => name === zone || name.endsWith(`.${zone}`));
  const [zone] = fitting.sort((a, b) => b.length - a.length);
  if (zone !== undefined) return zone;
  throw new UserError(
    `${name} is in no zone of the account at DigitalOcean, so no challenge by DNS can be answered there. Keep its zone there, or take the wildcard out of the site's domain_list.`,
  );
}

/** Adds a record, beside others of the same name. */
export async function addText(api: DnsApi, { zone, name, value }: TextRecord): Promise<void> {
  const record = { type: "TXT", name: name.slice(0, -zone.length - 1), data: value, ttl };
  await ask(api, "POST", `domains/${zone}/records`, record);
}

/** Removes a record, however often it is there; one that is gone is no error. */
export async function removeText(api: DnsApi, { zone, name, value }: TextRecord): Promise<void> {
  const path = `domains/${zone}/records`;
  const found = await ask<{ domain_records: { id: number; data: string }[] }>(
    api,
    "GET",
    `${path}?type=TXT&name=${encodeURIComponent(name)}&per_page=200`,
  ).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 404) return { domain_records: [] };
    throw error;
  });
  for (const { id, data } of found.domain_records) {
    if (data === value) await ask(api, "DELETE", `${path}/${id}`);
  }
}

/**
 * Waits until every server of the records' zones tells them: a CA that asks too early finds nothing, and that counts as a failed order.
 * @param servers whom to ask instead, `address:port` each
 * @throws UserError when that takes longer than three minutes
 */
export async function untilPublished(records: readonly TextRecord[], servers?: readonly string[]): Promise<void> {
  const end = Date.now() + publishMs;
  for (const record of records) {
    const asked = servers ?? (await serversOf(record.zone));
    for (const server of asked) {
      while (!(await isTold(record, server))) {
        if (Date.now() > end) {
          throw new UserError(
            `${record.name} is in DigitalOcean's DNS, but ${server} has not told it for ${publishMs / 60_000} min. Does the domain's registrar name DigitalOcean's name servers?`,
          );
        }
        await sleep(1000);
      }
    }
  }
}

async function isTold({ name, value }: TextRecord, server: string): Promise<boolean> {
  const resolver = new Resolver({ timeout: 5000, tries: 1 });
  resolver.setServers([server]);
  const texts = await resolver.resolveTxt(name).catch(() => []);
  return texts.some((parts) => parts.join("") === value);
}

/** Addresses of the servers that answer for a zone with authority. */
async function serversOf(zone: string): Promise<string[]> {
  const resolver = new Resolver();
  const names = await resolver.resolveNs(zone).catch(() => []);
  const addresses = await Promise.all(names.map((name) => resolver.resolve4(name).catch(() => [])));
  if (addresses.flat().length > 0) return addresses.flat();
  throw new UserError(`Nobody answers for the zone ${zone}: let its registrar name DigitalOcean's name servers.`);
}

class ApiError extends UserError {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

async function ask<Answer>({ endpoint, token }: DnsApi, method: string, path: string, body?: object): Promise<Answer> {
  const response = await fetch(`${endpoint}/v2/${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    signal: AbortSignal.timeout(patience),
    ...(body ? { body: JSON.stringify(body) } : {}),
  }).catch((error: Error) => {
    throw new UserError(`DigitalOcean's API (${endpoint}) does not answer: ${error.message}.`);
  });
  const text = await response.text();
  if (response.ok) return (text === "" ? {} : JSON.parse(text)) as Answer;
  const said = /"message":"([^"]*)"/.exec(text)?.[1] ?? "";
  throw new ApiError(response.status, `DigitalOcean's API refuses ${method} ${path}: ${response.status} ${said}`);
}
