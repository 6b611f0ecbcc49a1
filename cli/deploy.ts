import { join } from "node:path";
import type { Client } from "ssh2";
import { noteDeploy } from "../lib/last-deploy.ts";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { buildManifest } from "../lib/manifest.ts";
import { packServerScripts } from "../lib/server-scripts.ts";
import { readSiteFiles, type SiteFile } from "../lib/site-file.ts";
import { type CheckedSite, checkedFolderOf, checkSites } from "../lib/sites.ts";
import { changesForUp, configurationDigest, factsFormat, type StackFacts } from "../lib/stack-facts.ts";
import { asPut, uploadOf } from "../lib/upload.ts";
import { UserError } from "../lib/user-error.ts";
import { carriedDigest } from "../lib/wheels.ts";
import { pulumiEnvironment } from "../toolchain/environment.ts";
import { say } from "../toolchain/progress.ts";
import { ask, connect } from "./connection.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { readAllowedCommands } from "./site-allow.ts";
import { aloneWithStack } from "./stack-lock.ts";
import { readOutputs, upCommand } from "./stack-outputs.ts";

export interface DeployRequest {
  readonly stack: string;
  readonly slugs: readonly string[];
  /** For the log of deploys. */
  readonly reason: string;
}

/** What `chillbox-site install` prints on the server. */
interface Installed {
  readonly result: "installed" | "unchanged" | "unchanged (pinned)";
  readonly release: string;
  /** Until visitors got it; 0: they had it. */
  readonly switchMilliseconds: number;
}

/** How a site's deploy ended. */
interface Deployed extends Installed {
  readonly site: SiteFile;
  /** Milliseconds from the start of this command until visitors got the release. */
  readonly served: number;
}

/**
 * Does for single sites what `up` would do with them, without Pulumi's engine: builds the release, puts it into the buckets, hands the same
 * manifest to the server. What it needs of the stack is in its outputs. The next `up` finds the server as it wants it.
 * @throws UserError when something else than the sites' own files has changed since the last `up`, or a site fails
 */
export async function deploy(request: DeployRequest): Promise<void> {
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  // As under Pulumi: uploads to the local cloud go through its proxy.
  Object.assign(process.env, pulumiEnvironment(settings));
  const command = `npx chillbox deploy ${request.slugs.join(" ")}`;
  await aloneWithStack(settings, command, () => deployAlone(settings, request), request.stack);
}

async function deployAlone(settings: LocalCloudSettings, request: DeployRequest): Promise<void> {
  const { stack } = request;
  const { connection, facts } = await readOutputs(stack);
  if (facts?.format !== factsFormat) {
    throw new UserError(
      `Stack ${stack} does not tell yet what a deploy has to know: run \`${upCommand(stack)}\` once, which adds it.`,
    );
  }
  // Beside the build, which takes longer.
  const connecting = connect(connection);
  try {
    const [client, sites] = await Promise.all([connecting, prepare(settings, request, facts)]);
    // Each for itself: one that fails does not hold up the others.
    const outcomes = await Promise.allSettled(
      sites.map((site) => deploySite(client, site, { settings, request, facts })),
    );
    report(settings, stack, outcomes);
  } finally {
    connecting.then((client) => client.end()).catch(() => undefined);
  }
}

/** Builds and checks the sites' releases. */
async function prepare(
  settings: LocalCloudSettings,
  request: DeployRequest,
  facts: StackFacts,
): Promise<CheckedSite[]> {
  const { stack, slugs } = request;
  const folder = join(settings.repository, facts.sitesFolder);
  const artifactsFolder = join(settings.home, "artifacts");
  const all = await readSiteFiles(folder, { checkedFolder: checkedFolderOf(artifactsFolder) });
  const sites = slugs.map((slug) => {
    const found = all.find((site) => site.slug === slug);
    if (!found) throw new UserError(`There is no site "${slug}": ${join(folder, `${slug}.site.json`)} does not exist.`);
    return found;
  });
  await refuseMore(settings, stack, facts, sites);
  const others = Object.entries(facts.sites)
    .filter(([slug]) => !slugs.includes(slug) && all.some((site) => site.slug === slug))
    .map(([slug, { ports }]) => ({ slug, ports }));
  return checkSites({
    folder,
    artifactsFolder,
    surroundings: facts.surroundings,
    stack,
    allowedCommands: await readAllowedCommands(settings, stack),
    limits: facts.archiveLimits,
    only: { sites, others },
    log: say,
  });
}

/** @throws UserError naming all that only `up` can do */
async function refuseMore(
  { repository, home }: LocalCloudSettings,
  stack: string,
  facts: StackFacts,
  sites: readonly SiteFile[],
): Promise<void> {
  const [configuration, scripts, wheels] = await Promise.all([
    configurationDigest(repository, stack),
    packServerScripts(join(repository, "server-scripts"), join(home, "server-scripts")),
    carriedDigest(repository),
  ]);
  const inputs = { configuration, "server scripts": scripts.sha256, "Python packages": wheels };
  const changes = changesForUp(facts, inputs, sites);
  if (changes.length === 0) return;
  throw new UserError(
    `More has changed since the last \`up\` than a site's own files:\n${changes.map((each) => `  ${each}\n`).join("")}Nothing was deployed. \`${upCommand(stack)}\` does all of it.`,
  );
}

async function deploySite(
  client: Client,
  { site, release }: CheckedSite,
  { settings, request, facts }: { settings: LocalCloudSettings; request: DeployRequest; facts: StackFacts },
): Promise<Deployed> {
  const { uploadRelease } = await import("../local-commands/upload.ts");
  const { artifact, by } = await uploadRelease(facts.buckets, uploadOf(site, release, facts), say);
  const { surroundings, server } = facts;
  const { reason, stack } = request;
  const manifest = buildManifest({ site, release: asPut(release, artifact), surroundings, server, by, reason });
  await noteDeploy(settings.home, stack, site.slug);
  say(`${site.slug} ${manifest.release}: the server installs it and watches it for a while`);
  const asked = performance.now();
  const done = await ask<Installed>(client, "doas chillbox-site install", manifest).catch((error: unknown) => {
    throw error instanceof UserError ? new UserError(`${site.slug} ${release.version}: ${error.message}`) : error;
  });
  return { ...done, site, served: asked + done.switchMilliseconds };
}

function report(
  settings: LocalCloudSettings,
  stack: string,
  outcomes: readonly PromiseSettledResult<Deployed>[],
): void {
  const problems: string[] = [];
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") process.stdout.write(`${describe(settings, stack, outcome.value)}\n`);
    else if (outcome.reason instanceof UserError) problems.push(outcome.reason.message);
    else throw outcome.reason;
  }
  if (problems.length > 0) throw new UserError(problems.join("\n"));
}

function describe(settings: LocalCloudSettings, stack: string, { site, result, release, served }: Deployed): string {
  const { slug, serverName, domains } = site;
  const address =
    stack === stackOfLocalCloud
      ? `http://${domains[0] ?? serverName}.localhost:${settings.ports.gateway}`
      : `http://${serverName}`;
  if (result === "installed") {
    return `${slug} ${release} is at ${address}: visitors got it after ${(served / 1000).toFixed(1)} s.`;
  }
  if (result === "unchanged") return `${slug} ${release} is in use already, at ${address}.`;
  return `${slug} stays as it is: somebody rolled back from ${release}. \`npx chillbox rollback ${slug} ${release}\` puts it to use again.`;
}
