import type { ServiceEntry } from "../site-file.ts";
import { UserError } from "../user-error.ts";
import { readPort, type ServiceParts } from "./parts.ts";

/** A chill service as the server has it: frozen to files when a release is installed, or `chill serve` on a port. */
export type ChillService = FrozenChill | RunningChill;

interface FrozenChill extends ChillParts {
  readonly freeze: true;
}

interface RunningChill extends ChillParts {
  readonly freeze: false;
  readonly host: "127.0.0.1";
  readonly port: number;
}

interface ChillParts {
  readonly name: string;
  readonly lang: "chill";
  /** As in the site file, for people. The service's folder in the release is `<slug>/<name>/` (site contract, section 2). */
  readonly handler: string;
  readonly niceness: number;
  readonly environment: Readonly<Record<string, string>>;
}

const loopback = "127.0.0.1";
/** Whatever the site calls it, it listens on loopback: nginx alone asks it. */
const hosts = [loopback, "localhost", "0.0.0.0"];

/** @throws UserError when a service that is not frozen has no usable `CHILL_PORT`, or a `CHILL_HOST` that is not this server */
export function renderChill(service: ServiceEntry, { where, environment }: ServiceParts): ChillService {
  const parts = {
    name: service.name,
    lang: "chill",
    handler: service.handler,
    niceness: service.niceness ?? 0,
    environment,
  } as const;
  if (environment.freeze === "true") return { ...parts, freeze: true };
  const host = environment.CHILL_HOST ?? loopback;
  if (!hosts.includes(host)) throw new UserError(`${where} has the CHILL_HOST "${host}". Write ${loopback}.`);
  return { ...parts, freeze: false, host: loopback, port: readPort("CHILL_PORT", environment, where) };
}
