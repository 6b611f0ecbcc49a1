import type { ServiceEntry } from "../site-file.ts";
import { readPort, type ServiceParts } from "./parts.ts";

/** A python service as the server runs it: gunicorn. */
export interface PythonService {
  readonly name: string;
  readonly lang: "python";
  /** As in the site file, for people. The service's folder in the release is `<slug>/<name>/` (site contract, section 2). */
  readonly handler: string;
  readonly host: "127.0.0.1";
  readonly port: number;
  /** 0: as many as fit the server, between the bounds. */
  readonly workers: number;
  readonly workersMinimum?: number;
  readonly workersMaximum?: number;
  readonly workerClass: string;
  readonly maxRequests: number;
  readonly maxRequestsJitter: number;
  readonly logLevel: string;
  readonly niceness: number;
  readonly health: Health | null;
  readonly environment: Readonly<Record<string, string>>;
}

/** What a candidate is asked before it gets visitors. */
export interface Health {
  readonly path: string;
  /** From and to, both good: "200-399". */
  readonly status: string;
  /** How long it may take, from its start, until it has answered. */
  readonly timeoutSeconds: number;
}

/** Most worker processes of a service. */
const mostWorkers = 12;

/** @throws UserError when the service has no usable port */
export function renderPython(service: ServiceEntry, { where, environment }: ServiceParts): PythonService {
  return {
    name: service.name,
    lang: "python",
    handler: service.handler,
    host: "127.0.0.1",
    port: readPort("PORT", environment, where),
    ...workersOf(service),
    workerClass: service.worker_class ?? "sync",
    maxRequests: service.max_requests ?? 0,
    maxRequestsJitter: service.max_requests_jitter ?? 0,
    logLevel: service.log_level ?? "info",
    niceness: service.niceness ?? 0,
    health: healthOf(service),
    environment,
  };
}

/** A number, or bounds between which the server chooses. One worker is as it was when nobody says anything. */
function workersOf({ workers, workers_minimum, workers_maximum }: ServiceEntry) {
  const bounded = workers_minimum !== undefined || workers_maximum !== undefined;
  const count = workers ?? (bounded ? 0 : 1);
  if (count > 0) return { workers: count };
  return {
    workers: 0,
    ...(workers_minimum === undefined ? {} : { workersMinimum: Math.min(workers_minimum, mostWorkers) }),
    ...(workers_maximum === undefined ? {} : { workersMaximum: Math.min(workers_maximum, mostWorkers) }),
  };
}

function healthOf({ healthcheck }: ServiceEntry): Health | null {
  if (healthcheck === undefined) return null;
  const status = String(healthcheck.status ?? "200-399");
  return {
    path: healthcheck.path,
    status: status.includes("-") ? status : `${status}-${status}`,
    timeoutSeconds: healthcheck.timeout ?? 30,
  };
}
