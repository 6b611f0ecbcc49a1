import { join } from "node:path";
import { checkPorts, renderSite, type SiteSurroundings } from "./manifest.ts";
import { buildRelease, type Release } from "./release.ts";
import { readSiteFiles, rememberChecked, type SiteFile } from "./site-file.ts";
import { UserError } from "./user-error.ts";

/** A site that has passed every check that a laptop can do. */
export interface CheckedSite {
  readonly site: SiteFile;
  readonly release: Release;
}

export interface CheckSitesOptions {
  /** Folder of the site files. */
  readonly folder: string;
  /** Folder of built releases. */
  readonly artifactsFolder: string;
  /** Stand for the real ones in the check of templates. */
  readonly surroundings: SiteSurroundings;
  readonly log: (line: string) => void;
}

/**
 * Reads all site files, builds their releases and renders each once, so that a mistake stops the program before anything changed.
 * @throws UserError
 */
export async function checkSites(options: CheckSitesOptions): Promise<CheckedSite[]> {
  const checkedFolder = join(options.artifactsFolder, ".checked");
  const checked: CheckedSite[] = [];
  const rendered = [];
  const sites = await readSiteFiles(options.folder, { checkedFolder });
  checkOwnName(sites, options.surroundings.serverName);
  for (const site of sites) {
    for (const warning of site.warnings) options.log(`warning: ${warning}`);
    const release = await buildRelease(site, { artifactsFolder: options.artifactsFolder, log: options.log });
    rendered.push({ slug: site.slug, services: renderSite(site, release, options.surroundings).services });
    checked.push({ site, release });
  }
  checkPorts(rendered);
  await rememberChecked(
    checked.map(({ site }) => site),
    checkedFolder,
  );
  return checked;
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
