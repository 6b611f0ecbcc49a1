import { join } from "node:path";
import { type Analysis, analyseRelease } from "./analysis/analyse.ts";
import type { AnalysisSettings } from "./analysis/settings.ts";
import type { ArchiveLimits } from "./archive.ts";
import { checkPorts, portsOf, renderSite, type ServicePort, type SiteSurroundings } from "./manifest.ts";
import { buildRelease, type Release } from "./release.ts";
import { type AllowedCommands, checkAllowed } from "./site-commands.ts";
import { readSiteFiles, rememberChecked, type SiteFile } from "./site-file.ts";
import { UserError } from "./user-error.ts";

/** A site that has passed every check that a laptop can do. */
export interface CheckedSite {
  /** With the values that its commands gave. */
  readonly site: SiteFile;
  readonly release: Release;
  readonly ports: readonly ServicePort[];
  /** Never rejected. There if it was asked for. */
  readonly analysis?: Promise<Analysis>;
}

export interface CheckSitesOptions {
  /** Folder of the site files. */
  readonly folder: string;
  /** Folder of built releases. */
  readonly artifactsFolder: string;
  /** Stand for the real ones in the check of templates. */
  readonly surroundings: SiteSurroundings;
  readonly log: (line: string) => void;
  /** See `buildRelease`. */
  readonly whileMaking?: () => void;
  /** The stack, and what its configuration says about commands of site files; default: none may run. */
  readonly stack?: string;
  readonly allowedCommands?: AllowedCommands;
  /** Most that each archive of a release may hold. */
  readonly limits?: ArchiveLimits;
  /** What to look for in releases beyond what has to be right; whoever wants to know waits for it. Default: nothing. */
  readonly analysis?: AnalysisSettings;
  /** Builds and checks these sites alone, beside others as they are on the server; default: all. */
  readonly only?: { readonly sites: readonly SiteFile[]; readonly others: readonly OtherSite[] };
}

/** A site of the same server. */
export interface OtherSite {
  readonly slug: string;
  readonly ports: readonly ServicePort[];
}

/**
 * Reads all site files, builds their releases and renders each once, so that a mistake stops the program before anything changed.
 * @throws UserError
 */
export async function checkSites(options: CheckSitesOptions): Promise<CheckedSite[]> {
  const { artifactsFolder, log, limits, only, whileMaking } = options;
  const build = { artifactsFolder, log, ...(limits ? { limits } : {}), ...(whileMaking ? { whileMaking } : {}) };
  const checkedFolder = checkedFolderOf(artifactsFolder);
  const checked: CheckedSite[] = [];
  const sites = only?.sites ?? (await readSiteFiles(options.folder, { checkedFolder }));
  checkOwnName(sites, options.surroundings.serverName);
  checkAllowed(sites, options.allowedCommands ?? {}, options.stack ?? "local");
  for (const read of sites) {
    for (const warning of read.warnings) log(`warning: ${warning}`);
    const release = await buildRelease(read, build);
    const site = { ...read, env: release.env };
    const ports = portsOf(renderSite(site, release, options.surroundings).services);
    const settings = options.analysis;
    checked.push({ site, release, ports, ...(settings ? { analysis: analyseRelease(release, { settings }) } : {}) });
  }
  checkPorts([...(only?.others ?? []), ...checked.map(({ site, ports }) => ({ slug: site.slug, ports }))]);
  await rememberChecked(
    checked.map(({ site }) => site),
    checkedFolder,
  );
  return checked;
}

/** What was asked about the sites' releases, as soon as it is known. */
export async function analysesOf(sites: readonly CheckedSite[]): Promise<Analysis[]> {
  return (await Promise.all(sites.map(({ analysis }) => analysis))).filter((analysis) => analysis !== undefined);
}

/** Where it is noted which site files fit the schema. */
export function checkedFolderOf(artifactsFolder: string): string {
  return join(artifactsFolder, ".checked");
}

/** Chillbox's own host answers under its name, so that a site with that domain would never be seen. */
function checkOwnName(sites: readonly SiteFile[], serverName: string): void {
  const problems = sites
    .filter(({ domains }) => domains.includes(serverName))
    .map(
      ({ slug }) =>
        `The site "${slug}" has the domain ${serverName}, which is chillbox's own name. Give the site another domain, or chillbox another "serverName".`,
    );
  if (problems.length > 0) throw new UserError(problems.join("\n"));
}
