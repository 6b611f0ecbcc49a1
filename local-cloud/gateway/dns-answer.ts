import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, type Packet, TRUNCATED_RESPONSE } from "dns-packet";
import type { DnsAnswer, Zones } from "../types.ts";
import { resolve, withoutDot } from "./resolve.ts";

/** What is answered for. */
export interface AnsweredNames {
  readonly zones: Zones;
  readonly spacesSuffix: string;
  readonly hostNames: readonly string[];
  readonly hostAddress: string;
}

const recordTypes = ["A", "AAAA", "CNAME", "MX", "NS", "SOA", "SRV", "TXT", "CAA"] as const;
const rcodes = { ok: 0, formatError: 1, noSuchName: 3, notImplemented: 4, refused: 5 } as const;
/** Fits into one packet on every path (DNS flag day 2020). */
const maxUdpSize = 1232;
const plainUdpSize = 512;
const spacesTtl = 60;
const negativeTtl = 60;

/**
 * Answers one DNS query: with authority for the zones and for the names of Spaces, REFUSED for everything else.
 * @returns `undefined` for what deserves no answer: answers, and what is no DNS at all.
 */
export function answerDns(names: AnsweredNames, query: Buffer, overTcp: boolean): Buffer | undefined {
  if (query.length < 12 || (query.readUInt16BE(2) & 0x8000) !== 0) return undefined;
  const opcode = (query.readUInt16BE(2) >> 11) & 0xf;
  if (opcode !== 0) return headerOnly(query, rcodes.notImplemented);
  const packet = readQuery(query);
  if (packet === undefined) return headerOnly(query, rcodes.formatError);
  const question = packet.questions?.[0];
  if (question === undefined) return headerOnly(query, rcodes.formatError);
  const edns = packet.additionals?.find((record) => record.type === "OPT");
  const { rcode, answers, authorities } = find(names, question.name, question.type, question.class);
  const reply: Packet = {
    type: "response",
    id: packet.id ?? 0,
    flags: (rcode === rcodes.refused ? 0 : AUTHORITATIVE_ANSWER) | (query.readUInt16BE(2) & 0x0100) | rcode,
    questions: [question],
    answers,
    authorities,
    additionals: edns === undefined ? [] : [ednsReply],
  };
  const encoded = encode(reply);
  const size = edns?.type === "OPT" ? Math.min(maxUdpSize, Math.max(plainUdpSize, edns.udpPayloadSize)) : plainUdpSize;
  if (overTcp || encoded.length <= size) return encoded;
  return encode({ ...reply, flags: (reply.flags ?? 0) | TRUNCATED_RESPONSE, answers: [], authorities: [] });
}

const ednsReply: Answer = {
  type: "OPT",
  name: ".",
  udpPayloadSize: maxUdpSize,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

interface Found {
  readonly rcode: number;
  readonly answers: Answer[];
  readonly authorities: Answer[];
}

function find(names: AnsweredNames, name: string, type: string, dnsClass: string | undefined): Found {
  const lower = withoutDot(name);
  if (dnsClass !== "IN" && dnsClass !== "ANY") return { rcode: rcodes.refused, answers: [], authorities: [] };
  if (lower === names.spacesSuffix || lower.endsWith(`.${names.spacesSuffix}`)) return findSpaces(names, name, type);
  if (names.hostNames.includes(lower))
    return { rcode: rcodes.ok, answers: hostRecords(names, name, type), authorities: [] };
  if (!names.zones.holds(lower) || type === "AXFR" || type === "IXFR")
    return { rcode: rcodes.refused, answers: [], authorities: [] };
  const wanted = recordTypes.find((known) => known === type);
  if (type === "ANY") {
    const all = names.zones.lookup(lower).map((answer) => toRecord(name, answer));
    if (all.length > 0) return { rcode: rcodes.ok, answers: all, authorities: [] };
  }
  // A type that no record has still follows aliases, as any other.
  const found = resolve(names.zones, lower, wanted ?? "CNAME");
  const aliases = wanted === undefined ? resolve(names.zones, lower, "A").aliases : found.aliases;
  const last = wanted === undefined ? resolve(names.zones, lower, "A").name : found.name;
  const answers = [
    ...aliases.map((alias, index) => toRecord(index === 0 ? name : alias.name, alias.answer)),
    ...(wanted === undefined ? [] : found.answers).map((answer) =>
      toRecord(aliases.length === 0 ? name : last, answer),
    ),
  ];
  if (answers.length > aliases.length || !names.zones.holds(last))
    return { rcode: rcodes.ok, answers, authorities: [] };
  return {
    rcode: exists(names.zones, last) ? rcodes.ok : rcodes.noSuchName,
    answers,
    authorities: startOfAuthority(names.zones, last),
  };
}

function hostRecords({ hostAddress }: AnsweredNames, name: string, type: string): Answer[] {
  return type === "A" || type === "ANY" ? [{ type: "A", name, ttl: spacesTtl, data: hostAddress }] : [];
}

function findSpaces(names: AnsweredNames, name: string, type: string): Found {
  const isZone = withoutDot(name) === names.spacesSuffix;
  if (!isZone && (type === "A" || type === "ANY")) {
    return { rcode: rcodes.ok, answers: hostRecords(names, name, type), authorities: [] };
  }
  const authority: Answer = {
    type: "SOA",
    name: names.spacesSuffix,
    ttl: negativeTtl,
    data: {
      mname: names.spacesSuffix,
      rname: `hostmaster.${names.spacesSuffix}`,
      serial: 1,
      refresh: 3600,
      retry: 600,
      expire: 86_400,
      minimum: negativeTtl,
    },
  };
  if (isZone && type === "SOA") return { rcode: rcodes.ok, answers: [authority], authorities: [] };
  return { rcode: rcodes.ok, answers: [], authorities: [authority] };
}

/** A name exists when it has records (of whatever type) or something below it has. */
function exists(zones: Zones, name: string): boolean {
  return zones.lookup(name).length > 0 || zones.names().some((other) => withoutDot(other).endsWith(`.${name}`));
}

/** The SOA record of the zone that `name` is in, which says how long its absence may be remembered. */
function startOfAuthority(zones: Zones, name: string): Answer[] {
  const labels = name.split(".");
  for (let index = 0; index < labels.length; index += 1) {
    const zone = labels.slice(index).join(".");
    const soa = zones.holds(zone) ? zones.lookup(zone).find((answer) => answer.type === "SOA") : undefined;
    if (soa === undefined) continue;
    const record = toRecord(zone, soa);
    const minimum = record.type === "SOA" ? (record.data.minimum ?? negativeTtl) : negativeTtl;
    return [{ ...record, ttl: Math.min(soa.ttl, minimum) } as Answer];
  }
  return [];
}

function toRecord(name: string, answer: DnsAnswer): Answer {
  const { type, ttl, data } = answer;
  switch (type) {
    case "A":
    case "AAAA":
      return { type, name, ttl, data };
    case "CNAME":
    case "NS":
      return { type, name, ttl, data: data.replace(/\.$/, "") };
    case "MX":
      return { type, name, ttl, data: { preference: answer.priority ?? 0, exchange: data.replace(/\.$/, "") } };
    case "SRV": {
      const { priority = 0, weight = 0, port = 0 } = answer;
      return { type, name, ttl, data: { priority, weight, port, target: data.replace(/\.$/, "") } };
    }
    case "CAA": {
      const tag = answer.tag === "issuewild" || answer.tag === "iodef" ? answer.tag : "issue";
      return { type, name, ttl, data: { flags: answer.flags ?? 0, tag, value: data } };
    }
    case "TXT":
      return { type, name, ttl, data: textParts(data) };
    case "SOA":
      return { type, name, ttl, data: soaData(data) };
  }
}

/** A text record is a list of strings of 255 bytes at most. */
function textParts(text: string): Buffer[] {
  const bytes = Buffer.from(text, "utf8");
  const parts: Buffer[] = [];
  for (let start = 0; start < bytes.length || start === 0; start += 255) parts.push(bytes.subarray(start, start + 255));
  return parts;
}

/** `mname rname serial refresh retry expire minimum`, as in a zone file. */
function soaData(text: string): Extract<Answer, { type: "SOA" }>["data"] {
  const [mname = "", rname = "", ...numbers] = text.split(/\s+/);
  const [serial = 1, refresh = 10_800, retry = 3600, expire = 604_800, minimum = 1800] = numbers.map(Number);
  return { mname: mname.replace(/\.$/, ""), rname: rname.replace(/\.$/, ""), serial, refresh, retry, expire, minimum };
}

/** Decodes a query with exactly one question; `undefined` for one that is malformed or that could not be repeated as it was. */
function readQuery(query: Buffer): Packet | undefined {
  try {
    const counts = [4, 6, 8, 10].map((offset) => query.readUInt16BE(offset));
    if (counts[0] !== 1 || counts[1] !== 0 || counts[2] !== 0 || (counts[3] ?? 0) > 2) return undefined;
    const packet = decode(query);
    const repeated = encode({ questions: packet.questions ?? [] }).subarray(12);
    return query.subarray(12, 12 + repeated.length).equals(repeated) ? packet : undefined;
  } catch {
    return undefined;
  }
}

function headerOnly(query: Buffer, rcode: number): Buffer {
  const reply = Buffer.alloc(12);
  reply.writeUInt16BE(query.readUInt16BE(0), 0);
  reply.writeUInt16BE(0x8000 | (query.readUInt16BE(2) & 0x7900) | rcode, 2);
  return reply;
}
