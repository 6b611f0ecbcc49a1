import type { CheckFailure } from "../../plugin/check.ts";
import type { ResourceKind } from "../../plugin/plugin.ts";
import { isUnknown, type Properties } from "../../plugin/wire.ts";
import type { Json } from "../api.ts";
import type { Cloud } from "../plugin.ts";
import { unlessMissing } from "../wait.ts";

/** Records whose value is a host name: the program writes it with a dot at the end, the API answers without. */
const hostNameTypes = ["CNAME", "MX", "NS", "SRV", "CAA"];

/** A record of a DNS zone. */
export function dnsRecordKind(cloud: Cloud): ResourceKind {
  return {
    facts: {
      allowed: { type: ["A", "AAAA", "CAA", "CNAME", "MX", "NS", "TXT", "SRV"] },
      computed: ["ttl"],
      volatile: ["fqdn", "ttl"],
    },
    check: recordFaults,
    async create(inputs) {
      const body = { type: inputs.type, ...requestBody(inputs) };
      const { domain_record: made } = await cloud.api.post(`/v2/domains/${inputs.domain}/records`, body);
      return { id: String(made.id), outputs: await readRecord(cloud, String(inputs.domain), String(made.id)) };
    },
    read: (id, state) => unlessMissing(readRecord(cloud, String(state.domain), id)),
    async update(id, _state, inputs) {
      await cloud.api.put(`/v2/domains/${inputs.domain}/records/${id}`, requestBody(inputs));
      return readRecord(cloud, String(inputs.domain), id);
    },
    async delete(id, state) {
      await unlessMissing(cloud.api.delete(`/v2/domains/${state.domain}/records/${id}`));
    },
  };
}

function recordFaults(inputs: Properties): CheckFailure[] {
  const failures: CheckFailure[] = [];
  const needs: Record<string, string[]> = {
    MX: ["priority"],
    SRV: ["priority", "port", "weight"],
    CAA: ["flags", "tag"],
  };
  for (const key of needs[String(inputs.type)] ?? []) {
    if (inputs[key] === undefined) {
      failures.push({ property: key, reason: `a record of type ${inputs.type} needs '${key}'` });
    }
  }
  const { type, value, tag } = inputs;
  const wantsDot = hostNameTypes.includes(String(type)) && !(type === "CAA" && tag === "iodef");
  if (wantsDot && typeof value === "string" && !isUnknown(value) && value !== "@" && !value.endsWith(".")) {
    failures.push({ property: "value", reason: `the value of a ${type} record is a host name with a dot at the end` });
  }
  return failures;
}

function requestBody({ name, value, priority, port, ttl, weight, flags, tag }: Properties): Json {
  return {
    name,
    data: value,
    priority: priority ?? 0,
    port: port ?? 0,
    weight: weight ?? 0,
    flags: flags ?? 0,
    ...(ttl === undefined ? {} : { ttl }),
    ...(tag === undefined ? {} : { tag }),
  };
}

async function readRecord(cloud: Cloud, zone: string, id: string): Promise<Properties> {
  const { domain_record: record } = await cloud.api.get(`/v2/domains/${zone}/records/${id}`);
  const { type, name, data } = record;
  const bare = !hostNameTypes.includes(type) || data === "@" || (type === "CAA" && record.tag === "iodef");
  const numbers = {
    priority: ["MX", "SRV"].includes(type) ? record.priority : undefined,
    port: type === "SRV" ? record.port : undefined,
    weight: type === "SRV" ? record.weight : undefined,
    flags: type === "CAA" ? record.flags : undefined,
  };
  return {
    domain: zone,
    type,
    name,
    value: bare || data.endsWith(".") ? data : `${data}.`,
    ttl: record.ttl,
    fqdn: name === "@" ? zone : `${name}.${zone}`,
    ...numbers,
    tag: record.tag || undefined,
  };
}
