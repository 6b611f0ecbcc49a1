import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { AnalysisSettings } from "./analysis/settings.ts";
import { type ArchiveLimits, sha256 } from "./archive.ts";
import type { ServicePort, SiteSurroundings } from "./manifest.ts";
import type { ServerPython } from "./pip.ts";
import type { SiteFile } from "./site-file.ts";
import type { Buckets, SpacesAccess } from "./upload.ts";

/** What `npx chillbox deploy` has to know of a stack: its output `facts`, as the last `up` left it. Secret. */
export interface StackFacts {
  readonly format: typeof factsFormat;
  readonly inputs: StackInputs;
  readonly buckets: Buckets;
  /** What the server fetches artifacts with. */
  readonly downloads: SpacesAccess;
  readonly surroundings: SiteSurroundings;
  /** The droplet's id. */
  readonly server: string;
  readonly python: ServerPython;
  readonly fetchWheels: boolean;
  readonly archiveLimits: ArchiveLimits;
  readonly analysis: AnalysisSettings;
  /** Folder of the site files, relative to the project's. */
  readonly sitesFolder: string;
  readonly sites: Readonly<Record<string, SiteFacts>>;
}

/**
 * What the stack is made of besides its sites, as digests by the names that people know it by. As long as they are the same, nothing but
 * sites can have changed.
 */
export type StackInputs = Readonly<Record<"configuration" | "server scripts" | "Python packages", string>>;

/** What of a site is more than its release: DNS records, certificates and secrets follow from it, and neighbours must not have the same. */
export interface SiteFacts {
  readonly domains: readonly string[];
  /** `service/file` of each secrets file that a service wants. */
  readonly secrets: readonly string[];
  readonly ports: readonly ServicePort[];
}

/** Another format's facts are of another version of chillbox: the next `up` writes them anew. */
export const factsFormat = 2;

/** The facts of a site. */
export function factsOf(site: SiteFile, ports: readonly ServicePort[]): SiteFacts {
  const { domains, secrets } = outsideOf(site);
  return { domains, secrets, ports };
}

function outsideOf({ serverName, domains, services, workers }: SiteFile): Omit<SiteFacts, "ports"> {
  const secrets = [...services, ...workers].flatMap(({ name, secrets_config: file }) =>
    file === undefined ? [] : [`${name}/${file}`],
  );
  return { domains: [...new Set([serverName, ...domains])].sort(), secrets: secrets.sort() };
}

/** What of the stack itself has changed since the last `up`, for people, one thing each. Only `up` can bring it to the server. */
export function changedInputs(facts: StackFacts, now: StackInputs): string[] {
  const names = Object.keys(now) as (keyof StackInputs)[];
  return names.filter((name) => now[name] !== facts.inputs[name]).map((name) => `the ${name} of the stack changed`);
}

/** The same for sites: what is more than their releases. */
export function changedSites(facts: StackFacts, sites: readonly SiteFile[]): string[] {
  return sites.flatMap((site) => {
    const known = facts.sites[site.slug];
    if (known === undefined) return [`${site.slug} is a new site`];
    const now = outsideOf(site);
    return [
      ...differences(`${site.slug}: domain`, known.domains, now.domains),
      ...differences(`${site.slug}: secrets of`, known.secrets, now.secrets),
    ];
  });
}

function differences(what: string, before: readonly string[], after: readonly string[]): string[] {
  const added = after.filter((each) => !before.includes(each)).map((each) => `${what} ${each} is new`);
  return [...added, ...before.filter((each) => !after.includes(each)).map((each) => `${what} ${each} is gone`)];
}

/**
 * Digest of a stack's configuration, which is Pulumi.yaml's `config` and that of its own file; which commands of site files may run is not part
 * of it, because that changes nothing but releases.
 * @param project folder of Pulumi.yaml
 */
export async function configurationDigest(project: string, stack: string): Promise<string> {
  // Loaded here, because it takes a while and most who need the facts do not need it.
  const { parse } = await import("yaml");
  const parts = await Promise.all(
    ["Pulumi.yaml", `Pulumi.${stack}.yaml`].map(async (name) => {
      const text = await readFile(join(project, name), "utf8").catch(() => "");
      const { config } = (parse(text) ?? {}) as { config?: Record<string, unknown> };
      const { "chillbox:allowedCommands": _, ...rest } = config ?? {};
      return rest;
    }),
  );
  return sha256(JSON.stringify(parts));
}
