import { join } from "node:path";
import type { S3Client } from "@aws-sdk/client-s3";
import pLimit from "p-limit";
import { judge, mayStop } from "../lib/analysis/analyse.ts";
import { noteDeploy } from "../lib/last-deploy.ts";
import { gatewayHost, type LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { buildManifest, type Manifest } from "../lib/manifest.ts";
import type { SshConnection } from "../lib/open-ssh.ts";
import { packServerScripts } from "../lib/server-scripts.ts";
import { type AllowedCommands, commandsOf } from "../lib/site-commands.ts";
import { readSiteFiles, type SiteFile } from "../lib/site-file.ts";
import { analysesOf, type CheckedSite, checkedFolderOf, checkSites, type OtherSite } from "../lib/sites.ts";
import { changedInputs, changedSites, configurationDigest, factsFormat, type StackFacts } from "../lib/stack-facts.ts";
import { asPut, uploadOf } from "../lib/upload.ts";
import { UserError } from "../lib/user-error.ts";
import { carriedDigest } from "../lib/wheels.ts";
import { say } from "../toolchain/progress.ts";
import { ask, connect } from "./connection.ts";
import type { DeployRequest } from "./deploy.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { readOutputs, upCommand } from "./stack-outputs.ts";

/** What `chillbox-site install` prints on the server. */
interface Installed {
  readonly result: "installed" | "unchanged" | "unchanged (pinned)";
  readonly release: string;
  /** Until visitors got it; 0: they had it. */
  readonly switchMilliseconds: number;
  /** Services that are not started without their secrets. */
  readonly waiting: readonly string[];
}

/** How a site's deploy ended. */
interface Deployed extends Installed {
  readonly site: SiteFile;
  /** Milliseconds from the start of this command until visitors got the release. */
  readonly served: number;
}

/** Sites at a time: each takes a session of the connection, of which sshd lets in ten. */
const parallel = 4;

interface Sites {
  readonly sites: readonly SiteFile[];
  readonly others: readonly OtherSite[];
}

/**
 * Brings sites to the server of a stack, which nobody else changes meanwhile.
 * @throws UserError when something else than the sites' own files has changed since the last `up`, or a site fails
 */
export async function deploySites(settings: LocalCloudSettings, request: DeployRequest): Promise<void> {
  const { stack } = request;
  const { connection, facts } = await readOutputs(stack);
  if (facts?.format !== factsFormat) {
    throw new UserError(
      `Stack ${stack} does not tell yet what a deploy has to know: run \`${upCommand(stack)}\` once, which adds it.`,
    );
  }
  const sites = await readSites(settings, request, facts);
  const connecting = connect(connection);
  // Told below, when it is waited for.
  connecting.catch(() => undefined);
  let spaces: S3Client | undefined;
  try {
    const making = Promise.withResolvers<void>();
    const building = build(settings, request, facts, sites, making.resolve);
    // What takes this process's own time waits until `make`, which is another one, is at work.
    await Promise.race([making.promise, building]);
    const { reachBuckets, uploadRelease } = await import("../local-commands/upload.ts");
    spaces = reachBuckets(facts.buckets);
    const [built] = await Promise.all([building, refuseOtherChanges(settings, stack, facts)]);
    if (mayStop(facts.analysis)) judge(await analysesOf(built), facts.analysis);
    const limit = pLimit(parallel);
    const deployOne = (one: CheckedSite) => {
      const prepare = async () => {
        const upload = uploadOf(one.site, one.release, facts);
        const { artifact, by } = await uploadRelease(facts.buckets, upload, say, spaces);
        const { surroundings, server, downloads } = facts;
        const release = asPut(one.release, artifact);
        const rest = { surroundings, server, spaces: downloads, by, reason: request.reason };
        const manifest = buildManifest({ site: one.site, release, ...rest });
        await connecting;
        await noteDeploy(settings.home, stack, one.site.slug);
        say(`${one.site.slug} ${manifest.release}: the server installs it and watches it for a while`);
        return manifest;
      };
      return limit(() => install(connecting, one, prepare()));
    };
    // Each for itself: one that fails does not hold up the others.
    const outcomes = await Promise.allSettled(built.map(deployOne));
    judge(await analysesOf(built), facts.analysis, say);
    report(settings, stack, outcomes);
  } finally {
    spaces?.destroy();
    connecting.then(
      (server) => server.end(),
      () => undefined,
    );
  }
}

/**
 * The sites that are meant, and the others of the stack.
 * @throws UserError when one has no site file, or more has changed about it than `up` alone can bring
 */
async function readSites(
  settings: LocalCloudSettings,
  { stack, slugs }: DeployRequest,
  facts: StackFacts,
): Promise<Sites> {
  const { folder, checkedFolder } = foldersOf(settings, facts);
  const all = await readSiteFiles(folder, { checkedFolder });
  const sites = slugs.map((slug) => {
    const found = all.find((site) => site.slug === slug);
    if (!found) throw new UserError(`There is no site "${slug}": ${join(folder, `${slug}.site.json`)} does not exist.`);
    return found;
  });
  refuse(changedSites(facts, sites), stack);
  const others = all.flatMap(({ slug }) => {
    const known = facts.sites[slug];
    return known === undefined || slugs.includes(slug) ? [] : [{ slug, ports: known.ports }];
  });
  return { sites, others };
}

/** Builds and checks the sites' releases. */
async function build(
  settings: LocalCloudSettings,
  { stack }: DeployRequest,
  facts: StackFacts,
  only: Sites,
  whileMaking: () => void,
): Promise<CheckedSite[]> {
  const { folder, artifactsFolder } = foldersOf(settings, facts);
  const { surroundings, archiveLimits: limits, analysis } = facts;
  const allowedCommands = await allowedFor(settings, stack, only.sites);
  return checkSites({
    folder,
    artifactsFolder,
    surroundings,
    stack,
    allowedCommands,
    limits,
    analysis,
    only,
    whileMaking,
    log: say,
  });
}

function foldersOf({ repository, home }: LocalCloudSettings, { sitesFolder }: StackFacts) {
  const artifactsFolder = join(home, "artifacts");
  return { folder: join(repository, sitesFolder), artifactsFolder, checkedFolder: checkedFolderOf(artifactsFolder) };
}

/** Most sites have no commands, and reading the configuration takes a while. */
async function allowedFor(
  settings: LocalCloudSettings,
  stack: string,
  sites: readonly SiteFile[],
): Promise<AllowedCommands> {
  if (sites.every(({ env }) => commandsOf(env).length === 0)) return {};
  const { readAllowedCommands } = await import("./site-allow.ts");
  return readAllowedCommands(settings, stack);
}

/** @throws UserError when something else than sites has changed since the last `up` */
async function refuseOtherChanges(settings: LocalCloudSettings, stack: string, facts: StackFacts): Promise<void> {
  const { repository, home } = settings;
  const [configuration, scripts, wheels] = await Promise.all([
    configurationDigest(repository, stack),
    packServerScripts(join(repository, "server-scripts"), join(home, "server-scripts")),
    carriedDigest(repository),
  ]);
  const inputs = { configuration, "server scripts": scripts.sha256, "Python packages": wheels };
  refuse(changedInputs(facts, inputs), stack);
}

function refuse(changes: readonly string[], stack: string): void {
  if (changes.length === 0) return;
  const list = changes.map((each) => `  ${each}\n`).join("");
  throw new UserError(
    `More has changed since the last \`up\` than a site's own files:\n${list}Nothing was deployed. \`${upCommand(stack)}\` does all of it.`,
  );
}

/** The server's command starts while the manifest is being made. */
async function install(
  connecting: Promise<SshConnection>,
  one: CheckedSite,
  preparing: Promise<Manifest>,
): Promise<Deployed> {
  // Told below, when it is waited for.
  preparing.catch(() => undefined);
  const { site, release } = one;
  const server = await connecting;
  const asked = performance.now();
  const done = await ask<Installed>(server, "doas chillbox-site install", preparing).catch((error: unknown) => {
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
  // A server that lets nobody in is the same problem for each of them.
  if (problems.length > 0) throw new UserError([...new Set(problems)].join("\n"));
}

function describe(settings: LocalCloudSettings, stack: string, deployed: Deployed): string {
  const notes = deployed.waiting.map((service) => {
    return `\n${deployed.site.slug} ${service} is not started without its secrets: npx chillbox secrets`;
  });
  return `${describeRelease(settings, stack, deployed)}${notes.join("")}`;
}

function describeRelease(
  settings: LocalCloudSettings,
  stack: string,
  { site, result, release, served }: Deployed,
): string {
  const { slug, serverName } = site;
  const address = `http://${stack === stackOfLocalCloud ? gatewayHost(settings, site) : serverName}`;
  if (result === "installed") {
    return `${slug} ${release} is at ${address}: visitors got it after ${(served / 1000).toFixed(1)} s.`;
  }
  if (result === "unchanged") return `${slug} ${release} is in use already, at ${address}.`;
  return `${slug} stays as it is: somebody rolled back from ${release}. \`npx chillbox rollback ${slug} ${release}\` puts it to use again.`;
}
