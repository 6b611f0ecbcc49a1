import { sha256 } from "./archive.ts";
import { renderCrontab } from "./crontab.ts";
import { artifactKey } from "./names.ts";
import { adoptNginx } from "./nginx-adopt.ts";
import { repeatHsts } from "./nginx-hsts.ts";
import { checkNginx, checkValues, valueMark } from "./nginx-template.ts";
import { renderRedis } from "./redis.ts";
import type { Release } from "./release.ts";
import { type ChillService, renderChill } from "./services/chill.ts";
import type { ServiceParts } from "./services/parts.ts";
import { type PythonService, renderPython } from "./services/python.ts";
import { type PythonWorker, renderWorker } from "./services/worker.ts";
import type { ServiceEntry, SiteFile, WorkerEntry } from "./site-file.ts";
import { renderTemplate, resolveVariables, substitute, type Variables } from "./template.ts";
import type { SpacesAccess } from "./upload.ts";
import { UserError } from "./user-error.ts";

/** What a site's variables are made of, besides the site itself. */
export interface SiteSurroundings {
  /** chillbox's own host name. */
  readonly serverName: string;
  readonly techEmail: string;
  readonly manageDns: boolean;
  /** URL of the ACME server's directory. */
  readonly acmeServer: string;
  readonly tls: boolean;
  readonly artifactBucket: string;
  readonly immutableBucket: string;
  /** Host (and port, if any) of the immutable bucket, as the server reaches it. */
  readonly immutableBucketHost: string;
  /** URL of Spaces in the region, without a trailing slash. */
  readonly s3Endpoint: string;
  /** The server's private network in CIDR notation. */
  readonly subnet: string;
}

/** A service or worker as the server runs it. */
export type ManifestService = (PythonService | ChillService | PythonWorker) & {
  /** Name of its secrets file. Without the file it is installed and not started. */
  readonly secrets?: string;
};

/** What a site is on the server, without who asked and where: the same manifest content means the same release. */
export interface RenderedSite {
  readonly serverName: string;
  readonly domains: readonly string[];
  /** Rendered text of the site's nginx.conf. */
  readonly nginx: string;
  readonly services: readonly ManifestService[];
  /** Directives of the site's own Redis, if it has one. */
  readonly redis?: Readonly<Record<string, string>>;
  /** Its lines with known variables replaced, and the variables of what they run. */
  readonly crontab: readonly string[];
  readonly crontabEnvironment?: Readonly<Record<string, string>>;
}

/** What `chillbox-site install` reads on stdin. */
export interface Manifest extends RenderedSite {
  readonly format: typeof manifestFormat;
  /** The droplet's id. */
  readonly server: string;
  readonly slug: string;
  readonly version: string;
  /** `<version>+<12 hex digits>`: the version with these variables, domains and services. */
  readonly release: string;
  readonly artifact: { readonly bucket: string; readonly key: string; readonly sha256: string; readonly size: number };
  /** What the artifact is fetched with. The server keeps it nowhere. */
  readonly spaces: SpacesAccess;
  readonly by: string;
  readonly reason: string;
}

export interface ManifestParts {
  readonly site: SiteFile;
  readonly release: Release;
  readonly surroundings: SiteSurroundings;
  readonly server: string;
  readonly spaces: SpacesAccess;
  readonly by: string;
  readonly reason: string;
}

/** The server refuses any other: its scripts and the program go together. */
const manifestFormat = 2;
/** Port on which nginx serves sites and chillbox's own host. */
const webPort = "80";

/** Stands for values that only the cloud knows, so that a template can be checked before anything exists. */
export function unknownSurroundings(
  known: Pick<SiteSurroundings, "serverName" | "techEmail" | "manageDns" | "acmeServer" | "tls" | "s3Endpoint">,
): SiteSurroundings {
  return {
    ...known,
    artifactBucket: "unknown",
    immutableBucket: "unknown",
    immutableBucketHost: "unknown.invalid",
    subnet: "192.0.2.0/24",
  };
}

/** The names that templates and environments of a site may use (site contract, section 4). */
export function siteVariables(site: SiteFile, version: string, surroundings: SiteSurroundings): Variables {
  const builtIn = builtInVariables(site, version, surroundings);
  const own = site.env.map(({ name, value }) => [name, value] as const);
  return resolveVariables([...own, ...builtIn], `${site.slug}.site.json: "env"`);
}

/**
 * Renders a site's nginx configuration, its services' environments, its crontab and what its Redis is told.
 * @throws UserError for a name in the template that nobody defines, a template that wants what is not the site's, a service without a
 * usable port, or a crontab line that cannot be run
 */
export function renderSite(site: SiteFile, release: Release, surroundings: SiteSurroundings): RenderedSite {
  const variables = siteVariables(site, release.version, surroundings);
  const services = [...site.services.filter(({ lang }) => lang !== "immutable"), ...site.workers].map((entry) =>
    renderService(site, entry, variables),
  );
  return {
    serverName: site.serverName,
    domains: site.domains,
    nginx: renderNginx(site, release, variables, surroundings, services),
    services,
    ...(site.redis === undefined ? {} : { redis: renderRedis(site.redis) }),
    ...renderCron(site, variables),
  };
}

/** Cron's runs get every variable that the site's lines may use. */
function renderCron(site: SiteFile, variables: Variables): Pick<RenderedSite, "crontab" | "crontabEnvironment"> {
  const crontab = renderCrontab(site.crontab ?? [], variables, `${site.slug}.site.json`);
  return crontab.length === 0 ? { crontab } : { crontab, crontabEnvironment: Object.fromEntries(variables) };
}

/** The manifest of a site for one server. */
export function buildManifest({ site, release, surroundings, server, spaces, by, reason }: ManifestParts): Manifest {
  const rendered = renderSite(site, release, surroundings);
  const digest = sha256(JSON.stringify([manifestFormat, release.artifactDigest, rendered]));
  return {
    format: manifestFormat,
    server,
    slug: site.slug,
    version: release.version,
    release: `${release.version}+${digest.slice(0, 12)}`,
    artifact: {
      bucket: surroundings.artifactBucket,
      key: artifactKey(site.slug, release.artifactSha256),
      sha256: release.artifactSha256,
      size: release.artifactSize,
    },
    ...rendered,
    spaces,
    by,
    reason,
  };
}

/** A service and the loopback port that it has. */
export interface ServicePort {
  readonly name: string;
  readonly port: number;
}

/**
 * Refuses two services on one port: loopback ports belong to the whole server.
 * @throws UserError naming both
 */
export function checkPorts(sites: readonly { slug: string; ports: readonly ServicePort[] }[]): void {
  const owners = new Map<number, string>();
  const problems: string[] = [];
  for (const { slug, ports } of sites) {
    for (const { name, port } of ports) {
      const owner = owners.get(port);
      if (owner !== undefined)
        problems.push(`"${owner}" and "${slug} ${name}" both have port ${port}. Give one of them another PORT.`);
      owners.set(port, `${slug} ${name}`);
    }
  }
  if (problems.length > 0) throw new UserError(problems.join("\n"));
}

/** Those that listen, and frozen ones that could: templates may fall back to the port on which chill would serve its pages. */
export function portsOf(services: readonly ManifestService[]): ServicePort[] {
  return services.flatMap((service) => {
    const port = "port" in service ? service.port : Number(service.environment.CHILL_PORT);
    return service.lang !== "python-worker" && port > 0 ? [{ name: service.name, port }] : [];
  });
}

function renderNginx(
  site: SiteFile,
  { template, templateName }: Release,
  variables: Variables,
  { s3Endpoint, immutableBucketHost }: SiteSurroundings,
  services: readonly ManifestService[],
): string {
  const nginx = renderTemplate(template, variables, templateName);
  const marks = new Map([...variables.keys()].map((name, index) => [name, valueMark(index)]));
  const values = new Map([...variables.values()].map((value, index) => [valueMark(index), value]));
  checkValues(nginx, renderTemplate(template, marks, templateName), values, templateName);
  const own = {
    slug: site.slug,
    domains: [site.serverName, ...site.domains].map((domain) => domain.toLowerCase()),
    ports: portsOf(services).map(({ port }) => port),
    bucketHosts: [new URL(s3Endpoint).host, immutableBucketHost],
  };
  const adopted = adoptNginx(nginx, own);
  checkNginx(adopted, own, templateName);
  return repeatHsts(adopted);
}

function builtInVariables(site: SiteFile, version: string, surroundings: SiteSurroundings): [string, string][] {
  return [
    ["SLUGNAME", site.slug],
    ["VERSION", version],
    ["SERVER_NAME", site.serverName],
    ...sharedVariables(surroundings),
    ["ACME_SERVER", surroundings.acmeServer],
    ["ENABLE_CERTBOT", String(surroundings.tls)],
    ["MANAGE_DNS_RECORDS", String(surroundings.manageDns)],
    ["MANAGE_HOSTNAME_DNS_RECORDS", String(surroundings.manageDns)],
  ];
}

/** Those that processes get as environment, too. */
function sharedVariables(surroundings: SiteSurroundings): [string, string][] {
  return [
    ["S3_ENDPOINT_URL", surroundings.s3Endpoint],
    ["ARTIFACT_BUCKET_NAME", surroundings.artifactBucket],
    ["IMMUTABLE_BUCKET_NAME", surroundings.immutableBucket],
    ["IMMUTABLE_BUCKET_DOMAIN_NAME", surroundings.immutableBucketHost],
    ["CHILLBOX_SERVER_NAME", surroundings.serverName],
    ["CHILLBOX_SERVER_PORT", webPort],
    ["SERVER_PORT", webPort],
    ["CHILLBOX_SUBNET", surroundings.subnet],
    ["TECH_EMAIL", surroundings.techEmail],
  ];
}

function renderService(site: SiteFile, entry: ServiceEntry | WorkerEntry, variables: Variables): ManifestService {
  const given = new Map([["HOST", "127.0.0.1"]]);
  for (const [name] of sharedVariables({} as SiteSurroundings)) given.set(name, variables.get(name) ?? "");
  const own = (entry.environment ?? []).map(({ name, value }) => [name, substitute(value, variables)] as const);
  for (const [name, value] of resolveVariables(own, `${site.slug}.site.json: environment of "${entry.name}"`)) {
    given.set(name, value);
  }
  if (entry.secrets_config !== undefined) {
    given.set("SECRETS_CONFIG", `/run/tmp/chillbox_secrets/${site.slug}/${entry.name}/${entry.secrets_config}`);
  }
  // An object that has its keys from here may have one called "__proto__".
  const environment = Object.fromEntries(given);
  const what = entry.lang === "python-worker" ? "worker" : "service";
  const parts = { where: `${site.slug}.site.json: the ${what} "${entry.name}"`, environment };
  const secrets = entry.secrets_config === undefined ? {} : { secrets: entry.secrets_config };
  return { ...renderKind(entry, parts), ...secrets };
}

function renderKind(entry: ServiceEntry | WorkerEntry, parts: ServiceParts): ManifestService {
  if (entry.lang === "python-worker") return renderWorker(entry, parts);
  return entry.lang === "chill" ? renderChill(entry, parts) : renderPython(entry, parts);
}
