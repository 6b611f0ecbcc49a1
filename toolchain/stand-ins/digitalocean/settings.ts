import type { CheckFailure } from "../plugin/check.ts";
import { isUnknown, type Properties } from "../plugin/wire.ts";
import { environmentProxy, refusal } from "./loopback.ts";

/** The provider's configuration, checked. */
export interface ProviderSettings {
  /** Base URL of the API without a path. */
  readonly apiEndpoint: string;
  readonly token: string;
  /** How often a call is tried again; default 4. */
  readonly httpRetryMax: number;
  /** Seconds before the first and the longest wait before another try; default 1 and 30. */
  readonly httpRetryWaitMin: number;
  readonly httpRetryWaitMax: number;
  /** Calls a second at most; 0: as many as it likes. */
  readonly requestsPerSecond: number;
  /** Address of Spaces, a Go template with `{{.Region}}`; `undefined` when Spaces cannot be used. */
  readonly spacesEndpoint: string | undefined;
  readonly spacesAccessId: string | undefined;
  readonly spacesSecretKey: string | undefined;
  /** Proxy for names under `.test`. */
  readonly proxy: string | undefined;
}

/**
 * Reads the provider's configuration; what is left out comes from the variables that the official plugin reads.
 * @throws Error when an address is not on this machine, or the token is missing.
 */
export function readSettings(config: Properties, environment: NodeJS.ProcessEnv = process.env): ProviderSettings {
  const text = (key: string, ...variables: string[]): string | undefined =>
    (config[key] as string | undefined) || variables.map((name) => environment[name]).find(Boolean);
  const number = (key: string, variable: string, otherwise: number): number => {
    const value = Number(text(key, variable) ?? otherwise);
    if (!Number.isFinite(value) || value < 0) {
      throw new Error(`provider setting ${key} must be a number of at least 0, but is '${text(key, variable)}'`);
    }
    return value;
  };
  const [fault] = addressFaults(config, environment);
  if (fault !== undefined) {
    throw new Error(fault.reason);
  }
  return {
    apiEndpoint: apiEndpoint(config, environment) ?? "",
    token: text("token", "DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN") ?? "",
    httpRetryMax: number("httpRetryMax", "DIGITALOCEAN_HTTP_RETRY_MAX", 4),
    httpRetryWaitMin: number("httpRetryWaitMin", "DIGITALOCEAN_HTTP_RETRY_WAIT_MIN", 1),
    httpRetryWaitMax: number("httpRetryWaitMax", "DIGITALOCEAN_HTTP_RETRY_WAIT_MAX", 30),
    requestsPerSecond: number("requestsPerSecond", "DIGITALOCEAN_REQUESTS_PER_SECOND", 0),
    spacesEndpoint: text("spacesEndpoint", "SPACES_ENDPOINT_URL"),
    spacesAccessId: text("spacesAccessId", "SPACES_ACCESS_KEY_ID"),
    spacesSecretKey: text("spacesSecretKey", "SPACES_SECRET_ACCESS_KEY"),
    proxy: environmentProxy(environment),
  };
}

/** Addresses in a configuration that may not be used. Without `apiEndpoint` the real API would be meant, which is refused. */
export function addressFaults(config: Properties, environment: NodeJS.ProcessEnv = process.env): CheckFailure[] {
  const proxy = environmentProxy(environment);
  const failures: CheckFailure[] = [];
  const api = apiEndpoint(config, environment) ?? "https://api.digitalocean.com";
  const spaces = (config.spacesEndpoint as string | undefined) || environment.SPACES_ENDPOINT_URL;
  const check = (property: "apiEndpoint" | "spacesEndpoint", address: string): void => {
    const reason = isUnknown(address) ? undefined : refusal(property, withRegion(address, "nyc3"), proxy);
    if (reason !== undefined) {
      failures.push({ property, reason });
    }
  };
  check("apiEndpoint", api);
  if (spaces) {
    check("spacesEndpoint", spaces);
  }
  return failures;
}

/** Fills the region into an address of Spaces. */
export function withRegion(template: string, region: string): string {
  return template.replace(/\{\{\s*\.Region\s*\}\}/g, region.toLowerCase());
}

function apiEndpoint(config: Properties, environment: NodeJS.ProcessEnv): string | undefined {
  return (config.apiEndpoint as string | undefined) || environment.DIGITALOCEAN_API_URL;
}
