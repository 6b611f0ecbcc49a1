import { isIP } from "node:net";
import { join, resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { type AnalysisSettings, defaultAnalysis, readAnalysis } from "./lib/analysis/settings.ts";
import type { ArchiveLimits } from "./lib/archive.ts";
import { configProblem } from "./lib/config-size.ts";
import { localCloudSettings } from "./lib/local-cloud-settings.ts";
import { closest, domainPattern, providerEndpoint, regionEndpoint, resourceName, serverHostName } from "./lib/names.ts";
import { type Outbound, outboundForm, parseOutbound } from "./lib/outbound.ts";
import type { AllowedCommands } from "./lib/site-commands.ts";
import { readSecretsConfig, type SecretsConfig } from "./lib/site-secrets.ts";
import { UserError } from "./lib/user-error.ts";

/** Everything that config says, checked. Nothing else in the program reads `pulumi.Config`. */
export interface Settings {
  readonly project: string;
  readonly stack: string;
  /** What every cloud resource's name starts with. */
  readonly resourceName: string;
  readonly api: { readonly endpoint: string; readonly token: pulumi.Output<string> };
  readonly spaces: {
    /** URL of Spaces in the stack's region. */
    readonly endpoint: string;
    /** The same for any region, as the provider wants it. */
    readonly endpointTemplate: string;
    readonly accessKeyId: pulumi.Output<string>;
    readonly secretAccessKey: pulumi.Output<string>;
  };
  readonly region: string;
  readonly server: {
    readonly size: string;
    readonly generation: number;
    /** The droplet's name and the host's own. */
    readonly hostName: string;
    /** chillbox's own domain. */
    readonly name: string;
    readonly sshAllowedAddresses: readonly string[];
    /** What the server may connect to, besides what every server needs. */
    readonly outbound: readonly Outbound[];
    readonly adminPublicKeys: readonly string[];
    readonly keepReleases: number;
    /** Number of the key pair that its sites' secrets are encrypted to. */
    readonly keyNumber: number;
    /** Of each service of a site, and disk of each site; 0 stands for a share of the server. */
    readonly limits: { readonly memoryMiB: number; readonly processes: number; readonly diskMiB: number };
    /** Of Alpine's packages. window: `HH:MM-HH:MM`, UTC; reboot: whether the server restarts itself in it when an update asks for that. */
    readonly updates: { readonly automatic: boolean; readonly window: string; readonly reboot: boolean };
  };
  /** The sites' secrets: never in a message, an argument or an input that is not secret. */
  readonly secrets: SecretsConfig;
  readonly techEmail: string;
  readonly tls: {
    readonly enabled: boolean;
    /** URL of the ACME server's directory. */
    readonly acmeServer: string;
    /** Absolute path of a PEM file with the roots by which that server is known; default: the system's. */
    readonly acmeCaFile: string | undefined;
    readonly hsts: boolean;
  };
  /** Digests of the commands of site files that may run on the laptop, by slug. */
  readonly allowedCommands: AllowedCommands;
  /** Most that each archive of a release may hold. */
  readonly archiveLimits: ArchiveLimits;
  readonly dns: { readonly manage: boolean; readonly zones: readonly string[] };
  /** What is looked for in releases, and what becomes of it. */
  readonly analysis: AnalysisSettings;
  /** Whether wheels that a release lacks are fetched on the laptop. */
  readonly fetchWheels: boolean;
  readonly forceDestroyBuckets: boolean;
  readonly protect: boolean;
  /** Absolute paths. */
  readonly folders: {
    readonly project: string;
    readonly home: string;
    readonly sites: string;
    readonly artifacts: string;
  };
}

/** Every key of the namespace `chillbox`, which is the project's. */
const keys = [
  "apiEndpoint",
  "apiToken",
  "spacesEndpoint",
  "spacesAccessKeyId",
  "spacesSecretAccessKey",
  "region",
  "size",
  "serverGeneration",
  "serverKeyNumber",
  "serverName",
  "techEmail",
  "tls",
  "hsts",
  "acmeServer",
  "acmeCaFile",
  "sshAllowedAddresses",
  "adminPublicKeys",
  "outbound",
  "serviceMemory",
  "serviceProcesses",
  "automaticUpdates",
  "automaticReboot",
  "updateWindow",
  "siteDisk",
  "manageDns",
  "dnsZones",
  "sitesFolder",
  "allowedCommands",
  "secrets",
  "archiveBytes",
  "archiveEntries",
  "archiveRatio",
  "analysis",
  "keepReleases",
  "fetchWheels",
  "forceDestroyBuckets",
  "protect",
  "resourceName",
] as const;
type Key = (typeof keys)[number];

/** Regions that have both droplets and Spaces. */
const regions = ["ams3", "atl1", "blr1", "fra1", "lon1", "nyc3", "sfo2", "sfo3", "sgp1", "syd1", "tor1"];

/**
 * Reads and checks the stack's configuration.
 * @throws UserError with every problem, one a line: the key, what is wrong, what to do
 */
export function readSettings(): Settings {
  const config = new pulumi.Config();
  const tooLarge = configProblem(pulumi.runtime.allConfig());
  if (tooLarge !== undefined) throw new UserError(tooLarge);
  const problems = unknownKeys(config.name);
  const check = new Checker(config, problems);

  const stack = pulumi.getStack();
  const name = check.text(
    "resourceName",
    /^[a-z][a-z0-9-]{0,39}$/,
    "lower-case letters, digits and hyphens, at most 40",
    resourceName(config.name, stack),
  );
  const region = check.oneOf("region", regions);
  const spacesEndpoint = check.url("spacesEndpoint");
  const generation = check.integer("serverGeneration", 1, 9999);
  const project = process.cwd();
  const { home } = localCloudSettings();
  const settings: Settings = {
    project: config.name,
    stack,
    resourceName: name,
    api: { endpoint: check.url("apiEndpoint"), token: check.secret("apiToken") },
    spaces: {
      endpoint: regionEndpoint(spacesEndpoint, region),
      endpointTemplate: providerEndpoint(spacesEndpoint),
      accessKeyId: check.secret("spacesAccessKeyId"),
      secretAccessKey: check.secret("spacesSecretAccessKey"),
    },
    region,
    server: {
      size: check.text("size", /^[a-z0-9-]+$/, "a size such as s-1vcpu-512mb-10gb"),
      generation,
      hostName: serverHostName(name, generation),
      name: check.text("serverName", domainPattern, "a domain in lower case, such as box.example.com"),
      sshAllowedAddresses: check.list(
        "sshAllowedAddresses",
        isAddressBlock,
        "addresses or CIDR blocks, such as 198.51.100.7/32",
      ),
      adminPublicKeys: check.list(
        "adminPublicKeys",
        isPublicKey,
        "public ssh keys, one line each, such as ssh-ed25519 AAAA... name",
      ),
      outbound: check
        .list("outbound", (text) => parseOutbound(text) !== undefined, outboundForm)
        .flatMap((text) => parseOutbound(text) ?? []),
      keepReleases: check.integer("keepReleases", 1, 50),
      keyNumber: check.integer("serverKeyNumber", 1, 9999),
      limits: {
        memoryMiB: check.share("serviceMemory", 32, 1_048_576),
        processes: check.share("serviceProcesses", 16, 65_536),
        diskMiB: check.share("siteDisk", 64, 16_777_216),
      },
      updates: {
        automatic: check.boolean("automaticUpdates"),
        window: check.window("updateWindow"),
        reboot: check.boolean("automaticReboot"),
      },
    },
    secrets: check.secrets("secrets"),
    techEmail: check.text("techEmail", /^[^\s@$]+@[^\s@$]+$/, "an e-mail address"),
    tls: {
      enabled: check.boolean("tls"),
      acmeServer: check.text(
        "acmeServer",
        /^https:\/\/[^\s/?#@$]+\/[^\s$]*$/,
        "the https URL of an ACME server's directory",
      ),
      acmeCaFile: check.optional("acmeCaFile", /^[^\0]+$/, "a PEM file", (file) => resolve(project, file)),
      hsts: check.boolean("hsts"),
    },
    allowedCommands: check.digests("allowedCommands"),
    // The server has limits of its own, which are not for configuration.
    archiveLimits: {
      bytes: check.integer("archiveBytes", 1, 4_294_967_296),
      entries: check.integer("archiveEntries", 1, 200_000),
      ratio: check.integer("archiveRatio", 1, 100_000),
    },
    dns: {
      manage: check.boolean("manageDns"),
      zones: check.list("dnsZones", (zone) => domainPattern.test(zone), "domains in lower case, such as example.com"),
    },
    analysis: check.analysis("analysis"),
    fetchWheels: check.boolean("fetchWheels"),
    forceDestroyBuckets: check.boolean("forceDestroyBuckets"),
    protect: check.boolean("protect"),
    folders: {
      project,
      home,
      sites: resolve(project, check.text("sitesFolder", /^[^\0]+$/, "a folder")),
      artifacts: join(home, "artifacts"),
    },
  };
  if (problems.length > 0) throw new UserError(problems.join("\n"));
  return deepFreeze(settings);
}

/** Keys of our namespace that nothing reads: a typing mistake would otherwise go unnoticed. */
function unknownKeys(namespace: string): string[] {
  return Object.keys(pulumi.runtime.allConfig())
    .filter((full) => full.startsWith(`${namespace}:`))
    .map((full) => full.slice(namespace.length + 1))
    .filter((key) => !keys.includes(key as Key))
    .map((key) => {
      const suggestion = closest(key, keys);
      const way = suggestion ? `Did you mean "${suggestion}"?` : "Pulumi.yaml lists the keys there are.";
      return `${namespace}:${key} is not a key that chillbox knows. ${way} Remove it with: pulumi config rm ${key}`;
    });
}

/** Reads keys one by one and collects what is wrong, so that all of it can be told at once. */
class Checker {
  readonly #config: pulumi.Config;
  readonly #problems: string[];

  constructor(config: pulumi.Config, problems: string[]) {
    this.#config = config;
    this.#problems = problems;
  }

  text(key: Key, pattern: RegExp, what: string, fallback?: string): string {
    const value = this.#config.get(key) ?? fallback;
    if (value === undefined) this.#complain(key, "is missing", what);
    else if (!pattern.test(value)) this.#complain(key, `is ${JSON.stringify(value)}`, what);
    else return value;
    return "";
  }

  /** `undefined` when it is not set. */
  optional(key: Key, pattern: RegExp, what: string, read: (text: string) => string): string | undefined {
    return this.#config.get(key) === undefined ? undefined : read(this.text(key, pattern, what));
  }

  oneOf(key: Key, allowed: readonly string[]): string {
    const value = this.#config.get(key) ?? "";
    if (!allowed.includes(value)) this.#complain(key, `is ${JSON.stringify(value)}`, `one of ${allowed.join(", ")}`);
    return value;
  }

  integer(key: Key, least: number, most: number): number {
    const value = Number(this.#config.get(key));
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    this.#complain(key, `is ${JSON.stringify(this.#config.get(key))}`, `a whole number from ${least} to ${most}`);
    return least;
  }

  /** A whole number, or 0 for a share of the server. */
  share(key: Key, least: number, most: number): number {
    return this.#config.get(key) === "0" ? 0 : this.integer(key, least, most);
  }

  /** A part of each day that lasts at least an hour: `HH:MM-HH:MM`. */
  window(key: Key): string {
    const what = "a part of the day of an hour or more, in UTC, such as 03:00-05:00";
    const value = this.text(key, /^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/, what);
    const [begin = 0, end = 0] = value.split("-").map((time) => Number(time.slice(0, 2)) * 60 + Number(time.slice(3)));
    if (value !== "" && (end - begin + 1440) % 1440 < 60) this.#complain(key, `is ${JSON.stringify(value)}`, what);
    return value;
  }

  boolean(key: Key): boolean {
    const value = this.#config.get(key);
    if (value !== "true" && value !== "false") this.#complain(key, `is ${JSON.stringify(value)}`, "true or false");
    return value === "true";
  }

  /** A URL of scheme, host and port alone: clients put their own path behind it. */
  url(key: Key): string {
    const value = this.#config.get(key) ?? "";
    const plain = value.replaceAll("{region}", "region").replace(/\/$/, "");
    if (!URL.canParse(plain) || !/^https?:\/\/[^/?#@]+$/.test(plain)) {
      this.#complain(key, `is ${JSON.stringify(value)}`, "a URL without a path, such as https://api.digitalocean.com");
    }
    return value.replace(/\/$/, "");
  }

  list(key: Key, isGood: (item: string) => boolean, what: string): string[] {
    const items = this.#readObject(key) ?? [];
    if (!Array.isArray(items)) {
      this.#complain(key, "is not a list", `a list of ${what}`);
      return [];
    }
    for (const item of items) {
      if (typeof item !== "string" || !isGood(item)) this.#complain(key, `has ${JSON.stringify(item)}`, what);
    }
    return items as string[];
  }

  analysis(key: Key): AnalysisSettings {
    const value = this.#readObject(key);
    if (value === undefined) return defaultAnalysis;
    return readAnalysis(value, (path, problem, what) => {
      this.#problems.push(`${this.#config.name}:${key}${path} ${problem}; it should be ${what}.`);
    });
  }

  /** A map of SHA-256 digests in hex, which chillbox itself has written. */
  digests(key: Key): Record<string, string> {
    const value = this.#readObject(key) ?? {};
    const isMap = typeof value === "object" && !Array.isArray(value);
    const isDigest = (text: unknown) => typeof text === "string" && /^[0-9a-f]{64}$/.test(text);
    if (isMap && Object.values(value).every(isDigest)) return value as Record<string, string>;
    this.#problems.push(
      `${this.#config.name}:${key} is ${JSON.stringify(value)}; it should be a map of digests. Remove it with: pulumi config rm ${key}`,
    );
    return {};
  }

  /** Secrets of sites by slug and service. No message tells a value. */
  secrets(key: Key): SecretsConfig {
    const secrets = readSecretsConfig(this.#readObject(key), (place, problem) => {
      const way = "npx chillbox secrets lists what there should be. Remove it with: pulumi config rm --path";
      this.#problems.push(`${this.#config.name}:${place} ${problem}. ${way} '${place}'`);
    });
    if (Object.keys(secrets).length > 0 && !isEncrypted(`${this.#config.name}:${key}`)) {
      this.#problems.push(
        `${this.#config.name}:${key} is not encrypted. Take those as known that others may have read; remove them with: pulumi config rm ${key}; then set them with: pulumi config set --secret --path`,
      );
    }
    return secrets;
  }

  secret(key: Key): pulumi.Output<string> {
    if ((this.#config.get(key) ?? "") === "") this.#complain(key, "is missing", "the secret", ` --secret ${key}`);
    return pulumi.secret(this.#config.get(key) ?? "");
  }

  /** `undefined` when it is not set, its text when it is no JSON. */
  #readObject(key: Key): unknown {
    try {
      return this.#config.getObject(key);
    } catch {
      return this.#config.get(key);
    }
  }

  #complain(key: Key, problem: string, what: string, command = ` ${key} ...`): void {
    this.#problems.push(
      `${this.#config.name}:${key} ${problem}; it should be ${what}. Set it with: pulumi config set${command}`,
    );
  }
}

/** Whether some of a key's value is encrypted in the stack's file. Pulumi's own types leave this function out. */
function isEncrypted(key: string): boolean {
  return (pulumi.runtime as unknown as { isConfigSecret(key: string): boolean }).isConfigSecret(key);
}

function isAddressBlock(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0) return false;
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}

function isPublicKey(text: string): boolean {
  return /^(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]{40,}={0,2}( [^\n]*)?$/.test(text);
}

function deepFreeze<Value extends object>(value: Value): Value {
  for (const part of Object.values(value)) {
    // Outputs belong to Pulumi, which writes to them.
    if (part !== null && typeof part === "object" && !pulumi.Output.isInstance(part)) deepFreeze(part);
  }
  return Object.freeze(value);
}
