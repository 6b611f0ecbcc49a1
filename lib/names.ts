import { UserError } from "./user-error.ts";

/** A site's slug: safe as a user, folder, service and bucket-prefix name. */
export const slugPattern = /^[a-z][a-z0-9-]{0,30}$/;
/** A fully qualified domain name in lower case, without a trailing dot. */
export const domainPattern = /^(?=.{1,253}$)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))+$/;

/** Whether a name of a `domain_list` stands for all names below another. */
export function isWildcard(domain: string): boolean {
  return domain.startsWith("*.");
}

const siteFileEnding = ".site.json";

/**
 * The slug of a site file: its name without `.site.json`.
 * @throws UserError when the name is not one that is safe everywhere
 */
export function slugOfSiteFile(fileName: string): string {
  const slug = fileName.endsWith(siteFileEnding) ? fileName.slice(0, -siteFileEnding.length) : "";
  if (!slugPattern.test(slug)) {
    throw new UserError(
      `${fileName}: the part before ${siteFileEnding} is the site's slug: a lower-case letter, then at most 30 lower-case letters, digits or "-". Rename the file.`,
    );
  }
  return slug;
}

/** Whether a file name is that of a site file. */
export function isSiteFile(fileName: string): boolean {
  return fileName.endsWith(siteFileEnding) && !fileName.startsWith(".");
}

/**
 * What every cloud resource's name starts with: `<project>-<stack>`, in the letters that droplets, buckets, tags and VPCs all allow.
 * Bucket names have at most 63 characters, of which a random part and `-immutable` take 19.
 */
export function resourceName(project: string, stack: string): string {
  const name = `${project}-${stack}`
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return name.slice(0, 40).replace(/-+$/, "");
}

/** A server's host name, which is its droplet's name: unique for each generation. */
export function serverHostName(resourceNameOfStack: string, generation: number): string {
  return `${resourceNameOfStack}-${generation}`;
}

/** Names of the two buckets; the random part is there because bucket names are shared with all other customers. */
export function bucketNames(resourceNameOfStack: string, random: string): { immutable: string; artifacts: string } {
  return {
    immutable: `${resourceNameOfStack}-${random}-immutable`,
    artifacts: `${resourceNameOfStack}-${random}-artifacts`,
  };
}

/** Where a site's artifact lies in the artifact bucket. */
export function artifactKey(slug: string, sha256: string): string {
  return `sites/${slug}/${sha256}.tar.gz`;
}

/** Where the encrypted secrets file of a service lies in the artifact bucket, for one server (site contract, section 8). */
export function secretsObjectKey(slug: string, service: string, hostName: string, file: string): string {
  return `${secretsObjectPrefix(slug, service, hostName)}${file}`;
}

/** What the objects of one service's secrets start with, whatever its file is called. */
export function secretsObjectPrefix(slug: string, service: string, hostName: string): string {
  return `chillbox/encrypted-secrets/${slug}/${service}/${hostName}/`;
}

/** Where a server's public key lies in the artifact bucket, for tools of the older version. */
export function publicKeyObjectKey(hostName: string): string {
  return `chillbox/public-keys/${hostName}.public.pem`;
}

/** Where the files of one build of an immutable service lie in the immutable bucket; without a trailing slash. */
export function immutablePrefix(slug: string, service: string, hash: string): string {
  return `${slug}/immutable/${service}/${hash}`;
}

/** The object that marks a version's immutable files as uploaded. */
export function versionMarkerKey(slug: string, version: string): string {
  return `${slug}/versions/${version}/version.txt`;
}

/**
 * Puts a region into an endpoint from config.
 * @example regionEndpoint("https://{region}.digitaloceanspaces.com", "nyc3") === "https://nyc3.digitaloceanspaces.com"
 */
export function regionEndpoint(endpoint: string, region: string): string {
  return endpoint.replaceAll("{region}", region).replace(/\/+$/, "");
}

/** The endpoint as the provider wants it: a Go template. */
export function providerEndpoint(endpoint: string): string {
  return endpoint.replaceAll("{region}", "{{.Region}}").replace(/\/+$/, "");
}

/** The host (with a port, if any) that serves a bucket by virtual-host addressing. */
export function bucketHost(bucket: string, endpointOfRegion: string): string {
  return `${bucket}.${new URL(endpointOfRegion).host}`;
}

/** The plain-HTTP(S) address of an object. Keys here are of URL-safe characters but for "+" and blanks. */
export function objectUrl(bucket: string, key: string, endpointOfRegion: string): string {
  const path = key.split("/").map(encodeURIComponent).join("/");
  return `${new URL(endpointOfRegion).protocol}//${bucketHost(bucket, endpointOfRegion)}/${path}`;
}

/** The word that was probably meant: at most two letters (or a third of them) away. */
export function closest(word: string, words: readonly string[]): string | undefined {
  const near = words
    .map((candidate) => ({ candidate, distance: editDistance(word.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance)[0];
  return near && near.distance <= Math.max(2, word.length / 3) ? near.candidate : undefined;
}

/** Letters to add, take away or change to come from one word to the other (Levenshtein). */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...from].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...to].entries()) {
      next.push(Math.min((row[j] ?? 0) + (letter === other ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}
