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
  readonly workers: number;
  readonly workerClass: string;
  readonly maxRequests: number;
  readonly maxRequestsJitter: number;
  readonly logLevel: string;
  readonly niceness: number;
  readonly environment: Readonly<Record<string, string>>;
}

/** @throws UserError when the service has no usable port */
export function renderPython(service: ServiceEntry, { where, environment }: ServiceParts): PythonService {
  return {
    name: service.name,
    lang: "python",
    handler: service.handler,
    host: "127.0.0.1",
    port: readPort("PORT", environment, where),
    workers: service.workers ?? 1,
    workerClass: service.worker_class ?? "sync",
    maxRequests: service.max_requests ?? 0,
    maxRequestsJitter: service.max_requests_jitter ?? 0,
    logLevel: service.log_level ?? "info",
    niceness: service.niceness ?? 0,
    environment,
  };
}
