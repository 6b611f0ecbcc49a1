import { isIPv4, isIPv6 } from "node:net";
import type { FastifyInstance, FastifyRequest } from "fastify";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  numberParameter,
  parameter,
  queryOf,
  readBody,
  requiredText,
  textOf,
} from "./context.ts";
import { notFound, unprocessable } from "./errors.ts";
import type { components } from "./openapi.d.ts";
import { paginate } from "./pages.ts";
import { addToProject, removeFromProject } from "./projects.ts";
import type { DnsRecord, DomainRecord } from "./records.ts";
import type { Store } from "./store.ts";

const defaultTtl = 1800;
const nameServers = ["ns1.digitalocean.com", "ns2.digitalocean.com", "ns3.digitalocean.com"];
const recordTypes = ["A", "AAAA", "CAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT"];
/** Their data is a name: written with a trailing dot, given back without. */
const nameTypes = ["CNAME", "MX", "NS", "SRV"];
const domainName = /^(?=.{3,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]$/;

/** `/v2/domains` and the records of each. */
export function routeDomains(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(store.domains.get(parameter(request, "domain").toLowerCase()));
  const show = (domain: DomainRecord) => renderDomain(store, domain);

  app.get("/v2/domains", (request) => paginate(listRequest(request), "domains", store.domains.all(), show));
  app.post("/v2/domains", async (request, reply) => {
    const body = readBody(context, request, "domains_create");
    const domain = await store.change(() => createDomain(store, body));
    return reply.status(201).send({ domain: show(domain) });
  });
  app.get("/v2/domains/:domain", (request) => ({ domain: show(requested(request)) }));
  app.delete("/v2/domains/:domain", async (request, reply) => {
    await store.change(() => {
      const { id } = requested(request);
      for (const record of recordsOf(store, id)) store.dnsRecords.delete(record.id);
      removeFromProject(store, `do:domain:${id}`);
      store.domains.delete(id);
    });
    return reply.status(204).send();
  });
  routeRecords(app, context, requested);
}

function routeRecords(
  app: FastifyInstance,
  context: ApiContext,
  requestedDomain: (request: FastifyRequest) => DomainRecord,
): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => {
    const { id: domain } = requestedDomain(request);
    const record = found(store.dnsRecords.get(numberParameter(request, "id")));
    if (record.domain !== domain) throw notFound();
    return record;
  };

  app.get("/v2/domains/:domain/records", (request) => {
    const { id: domain } = requestedDomain(request);
    const { name, type } = queryOf(request);
    const records = recordsOf(store, domain).filter(
      (record) => (!type || record.type === type) && (!name || fullName(record) === name),
    );
    return paginate(listRequest(request), "domain_records", records, renderRecord);
  });
  app.post("/v2/domains/:domain/records", async (request, reply) => {
    const body = readBody(context, request, "domains_create_record");
    const record = await store.change(() => {
      const { id: domain } = requestedDomain(request);
      return putRecord(store, readRecord(domain, requiredText(body, "type").toUpperCase(), body));
    });
    return reply.status(201).send({ domain_record: renderRecord(record) });
  });
  app.get("/v2/domains/:domain/records/:id", (request) => ({ domain_record: renderRecord(requested(request)) }));
  for (const method of ["PUT", "PATCH"] as const) {
    app.route({
      method,
      url: "/v2/domains/:domain/records/:id",
      handler: async (request) => {
        const body = readBody(context, request, "domains_update_record");
        const record = await store.change(() => updateRecord(store, requested(request), body));
        return { domain_record: renderRecord(record) };
      },
    });
  }
  app.delete("/v2/domains/:domain/records/:id", async (request, reply) => {
    await store.change(() => {
      const record = requested(request);
      if (record.type === "SOA") throw unprocessable("SOA records cannot be deleted");
      store.dnsRecords.delete(record.id);
    });
    return reply.status(204).send();
  });
}

/** All records of a zone. */
export function recordsOf(store: Store, domain: string): DnsRecord[] {
  return store.dnsRecords.all().filter((record) => record.domain === domain);
}

/** The record's name with its zone, without trailing dot. */
export function fullName(record: DnsRecord): string {
  return record.name === "@" ? record.domain : `${record.name}.${record.domain}`;
}

function createDomain(store: Store, body: Body): DomainRecord {
  const name = requiredText(body, "name").toLowerCase().replace(/\.$/, "");
  if (!domainName.test(name)) throw unprocessable("Name is not a valid domain name");
  if (store.domains.get(name) !== undefined) throw unprocessable("name already exists");
  const domain = store.domains.put({ id: name, createdAt: now() });
  addToProject(store, `do:domain:${name}`);
  const common = { domain: name, name: "@", ttl: defaultTtl, ...noNumbers };
  putRecord(store, { ...common, type: "SOA", data: "1800" });
  for (const data of nameServers) putRecord(store, { ...common, type: "NS", data });
  const address = textOf(body, "ip_address");
  if (address !== "") putRecord(store, readRecord(name, "A", { name: "@", data: address, ttl: defaultTtl }));
  return domain;
}

const noNumbers = { priority: null, port: null, weight: null, flags: null, tag: null };

/** Clients send every field of the record, but not its type. */
function updateRecord(store: Store, record: DnsRecord, body: Body): DnsRecord {
  const { id, domain, type, ...old } = record;
  const withDot = nameTypes.includes(type) && old.data !== "@" ? `${old.data}.` : old.data;
  const given = Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined && value !== null));
  if (record.type === "SOA") return store.dnsRecords.put({ ...record, ttl: readTtl(given) });
  return putRecord(store, { ...readRecord(domain, type, { ...old, data: withDot, ...given }), id });
}

type NewRecord = Omit<DnsRecord, "id"> & { readonly id?: number };

function putRecord(store: Store, record: NewRecord): DnsRecord {
  const sameName = recordsOf(store, record.domain).filter(
    (other) => other.name === record.name && other.id !== record.id && other.type !== "SOA",
  );
  if (sameName.some((other) => (other.type === "CNAME") !== (record.type === "CNAME") || record.type === "CNAME")) {
    throw unprocessable("CNAME records cannot share a name with other records");
  }
  const double = sameName.some(
    (other) =>
      other.type === record.type &&
      other.data === record.data &&
      other.priority === record.priority &&
      other.port === record.port,
  );
  if (double && record.id === undefined) throw unprocessable("Record already exists");
  return store.dnsRecords.put({ ...record, id: record.id ?? store.next("dns_record", 50001) });
}

function readRecord(domain: string, type: string, body: Body): Omit<DnsRecord, "id"> {
  if (!recordTypes.includes(type) || type === "SOA") {
    throw unprocessable(`Type must be one of ${recordTypes.filter((one) => one !== "SOA").join(", ")}`);
  }
  const number = (key: string, used: boolean, max: number) => (used ? readNumber(body, key, max) : null);
  const isService = type === "SRV";
  return {
    domain,
    type,
    name: readName(domain, textOf(body, "name")),
    data: readData(type, requiredText(body, "data")),
    ttl: readTtl(body),
    priority: number("priority", isService || type === "MX", 65535),
    port: number("port", isService, 65535),
    weight: number("weight", isService, 65535),
    flags: number("flags", type === "CAA", 255),
    tag: type === "CAA" ? readTag(body) : null,
  };
}

/** Relative to the zone: `@` for itself. A name with a trailing dot is absolute. */
function readName(domain: string, text: string): string {
  const lower = text.toLowerCase();
  if (lower === "" || lower === "@" || lower === `${domain}.`) return "@";
  const relative = lower.endsWith(`.${domain}.`) ? lower.slice(0, -domain.length - 2) : lower;
  const labels = relative.split(".");
  const isLabel = (label: string, index: number) =>
    /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label) || (label === "*" && index === 0);
  if (!labels.every(isLabel) || relative.length + domain.length > 252) {
    throw unprocessable("Name Only valid hostname characters are allowed. (a-z, A-Z, 0-9, ., _ and -)");
  }
  return relative;
}

function readData(type: string, data: string): string {
  if (type === "A" && !isIPv4(data)) {
    throw unprocessable("Data IP address did not match IPv4 format (e.g. 12.34.56.78).");
  }
  if (type === "AAAA" && !isIPv6(data)) {
    throw unprocessable("Data IP address did not match IPv6 format (e.g. 2001:db8::ff00:42:8329).");
  }
  if (!nameTypes.includes(type) || data === "@") return type === "CAA" ? data.replace(/\.$/, "") : data;
  if (!data.endsWith(".")) throw unprocessable("Data needs to end with a dot (.)");
  const name = data.slice(0, -1).toLowerCase();
  if (!domainName.test(name)) throw unprocessable("Data is not a valid hostname");
  return name;
}

function readTtl(body: Body): number {
  const { ttl } = body;
  if (ttl === undefined || ttl === null || ttl === 0) return defaultTtl;
  const valid = typeof ttl === "number" && Number.isInteger(ttl) && ttl >= 30 && ttl <= 2 ** 31 - 1;
  if (!valid) throw unprocessable("TTL must be a whole number of seconds, 30 at least");
  return ttl;
}

function readNumber(body: Body, key: string, max: number): number {
  const value = body[key] ?? 0;
  const valid = typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max;
  if (!valid) throw unprocessable(`${key} must be a whole number from 0 to ${max}`);
  return value;
}

function readTag(body: Body): string {
  const tag = textOf(body, "tag");
  if (!["issue", "issuewild", "iodef"].includes(tag)) throw unprocessable("Tag must be issue, issuewild or iodef");
  return tag;
}

function renderDomain(store: Store, domain: DomainRecord): components["schemas"]["domain"] {
  return { name: domain.id, ttl: defaultTtl, zone_file: zoneFile(store, domain) };
}

function zoneFile(store: Store, domain: DomainRecord): string {
  const lines = recordsOf(store, domain.id).map((record) => {
    const data = record.type === "SOA" ? soaData(domain, record.ttl) : zoneData(record);
    return `${fullName(record)}. ${record.ttl} IN ${record.type} ${data}`;
  });
  return `$ORIGIN ${domain.id}.\n$TTL ${defaultTtl}\n${lines.join("\n")}\n`;
}

/** Data of a zone's SOA record. */
export function soaData(domain: DomainRecord, ttl: number): string {
  const serial = Math.floor(Date.parse(domain.createdAt) / 1000);
  return `${nameServers[0]}. hostmaster.${domain.id}. ${serial} 10800 3600 604800 ${ttl}`;
}

function zoneData(record: DnsRecord): string {
  const target = record.data === "@" ? `${record.domain}.` : `${record.data}.`;
  if (record.type === "MX") return `${record.priority} ${target}`;
  if (record.type === "SRV") return `${record.priority} ${record.weight} ${record.port} ${target}`;
  if (record.type === "CAA") return `${record.flags} ${record.tag} "${record.data}"`;
  if (record.type === "TXT") return JSON.stringify(record.data);
  return nameTypes.includes(record.type) ? target : record.data;
}

function renderRecord(record: DnsRecord): components["schemas"]["domain_record"] {
  const { domain: _, ...shown } = record;
  return shown;
}
