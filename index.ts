import { join, relative } from "node:path";
import { Provider } from "@pulumi/digitalocean/provider.js";
import * as pulumi from "@pulumi/pulumi";
import { AdminKey } from "./components/admin-key.ts";
import { Dns } from "./components/dns.ts";
import { shortenFollowUpErrors } from "./components/failures.ts";
import { Image } from "./components/image.ts";
import { Network } from "./components/network.ts";
import { Project } from "./components/project.ts";
import { keepEverythingSecret } from "./components/secrecy.ts";
import { Server, serverPython } from "./components/server.ts";
import { ServerKey } from "./components/server-key.ts";
import { Site } from "./components/site.ts";
import { Storage } from "./components/storage.ts";
import { UserData } from "./components/user-data.ts";
import { readRoots, trialDirectory } from "./lib/acme.ts";
import { judge } from "./lib/analysis/analyse.ts";
import { closeFolder } from "./lib/close-folder.ts";
import { reasonOfUp } from "./lib/last-deploy.ts";
import { unknownSurroundings } from "./lib/manifest.ts";
import { bucketHost } from "./lib/names.ts";
import { checkPassphraseSource } from "./lib/passphrase.ts";
import { packServerScripts } from "./lib/server-scripts.ts";
import { siteSecrets, unsetSecrets } from "./lib/site-secrets.ts";
import { analysesOf, checkSites } from "./lib/sites.ts";
import { configurationDigest, factsFormat, factsOf, type StackFacts } from "./lib/stack-facts.ts";
import { UserError } from "./lib/user-error.ts";
import { carriedDigest } from "./lib/wheels.ts";
import { readSettings } from "./settings.ts";

shortenFollowUpErrors();
// Pulumi's own files are for its user alone; what a site's build makes is made as people know it.
process.umask(0o022);
// First everything that can be wrong on the laptop: it stops the program before a resource is asked for.
const { settings, known, sites, secrets, scripts, wheels, tls, files } = await prepare().catch((error: unknown) => {
  throw error instanceof UserError ? new pulumi.RunError(error.message) : error;
});
const { resourceName, region, protect, server: serverSettings } = settings;
const endpoint = settings.spaces.endpoint;

keepEverythingSecret();
const provider = new Provider("digitalocean", {
  apiEndpoint: pulumi.secret(settings.api.endpoint),
  token: settings.api.token,
  spacesEndpoint: pulumi.secret(settings.spaces.endpointTemplate),
  spacesAccessId: settings.spaces.accessKeyId,
  spacesSecretKey: settings.spaces.secretAccessKey,
});
const opts = { providers: { digitalocean: provider } };

const storage = new Storage(
  "storage",
  { resourceName, region, endpoint, forceDestroy: settings.forceDestroyBuckets, protect },
  opts,
);
const image = new Image("image", { resourceName, region, endpoint, storage }, opts);
const network = new Network(
  "network",
  {
    resourceName,
    region,
    sshAllowedAddresses: serverSettings.sshAllowedAddresses,
    outbound: serverSettings.outbound,
    protect,
  },
  opts,
);
const adminKey = new AdminKey("admin-key", { resourceName }, opts);

// The generation is part of these two names, so a higher one makes another server before the old one goes.
const { generation, hostName } = serverSettings;
const identity = {
  server: hostName,
  serverName: serverSettings.name,
  project: settings.project,
  stack: settings.stack,
  generation,
};
const userData = new UserData(`user-data-${generation}`, { identity, publicKey: adminKey.publicKey }, opts);
const server = new Server(
  `server-${generation}`,
  {
    hostName,
    serverName: serverSettings.name,
    region,
    size: serverSettings.size,
    imageId: image.imageId,
    network,
    adminKey,
    userData,
    scripts,
    wheelsDigest: wheels,
    adminPublicKeys: serverSettings.adminPublicKeys,
    keepReleases: serverSettings.keepReleases,
    tls,
    sshAllowedAddresses: serverSettings.sshAllowedAddresses,
    outbound: serverSettings.outbound,
    limits: serverSettings.limits,
    updates: serverSettings.updates,
    protect,
  },
  opts,
);
const serverKey = new ServerKey(
  `server-${generation}-key`,
  { server, storage, hostName, number: serverSettings.keyNumber },
  opts,
);

const surroundings = pulumi
  .all([storage.artifactBucket.name, storage.immutableBucket.name, network.vpc.ipRange])
  .apply(([artifactBucket, immutableBucket, subnet]) => {
    return {
      ...known,
      artifactBucket,
      immutableBucket,
      immutableBucketHost: bucketHost(immutableBucket, endpoint),
      subnet,
    };
  });
// What is wanted by now goes to the engine, which starts its plugins meanwhile.
await new Promise(setImmediate);
for (const { site, release, reason } of sites) {
  const { fetchWheels } = settings;
  const args = { site, release, reason, surroundings, storage, server, serverKey, fetchWheels };
  new Site(`site-${site.slug}`, { ...args, secrets: secrets.get(site.slug) ?? [] }, opts);
}

const names = [serverSettings.name, ...sites.flatMap(({ site }) => site.domains)];
const { reservedIp } = network;
const dns = settings.dns.manage
  ? new Dns("dns", { names, zones: settings.dns.zones, ipAddress: reservedIp.ipAddress, protect }, opts)
  : undefined;
new Project(
  "project",
  {
    resourceName,
    resources: [
      server.droplet.dropletUrn,
      storage.immutableBucket.bucketUrn,
      storage.artifactBucket.bucketUrn,
      ...(dns?.domains ?? []).map((domain) => domain.domainUrn),
    ],
  },
  opts,
);

// Secret like everything in the state: `pulumi stack output --show-secrets` shows them.
/** The address that sites are reached at. */
export const ipAddress = pulumi.secret(reservedIp.ipAddress);
/** Where each site is. */
export const urls = pulumi.secret(
  sites.map(({ site }) => `${settings.tls.enabled ? "https" : "http"}://${site.serverName}`),
);
/** How the admin user reaches the server by ssh. */
export const connection = pulumi.secret(server.connection);
/** The server's key for secrets: what opens them after a restart (`npx chillbox unlock`), and what other tools encrypt to. */
export const unlock = pulumi.secret(
  pulumi.output({
    number: serverKey.number,
    passphrase: serverKey.passphrase,
    publicKey: serverKey.publicKey,
    hostName,
  }),
);
/** What `npx chillbox deploy` has to know. */
export const facts = pulumi.secret(
  pulumi
    .all([storage.buckets, storage.downloads, surroundings, server.droplet.id, serverPython(server.enrolled)])
    .apply(([buckets, downloads, around, droplet, python]): StackFacts => {
      return { ...files, buckets, downloads, surroundings: around, server: droplet, python };
    }),
);

async function prepare() {
  checkPassphraseSource(process.env, pulumi.getStack());
  const settings = readSettings();
  closeFolder(join(settings.folders.project, "state"));
  const { project, artifacts, home } = settings.folders;
  const known = {
    serverName: settings.server.name,
    techEmail: settings.techEmail,
    manageDns: settings.dns.manage,
    acmeServer: settings.tls.acmeServer,
    tls: settings.tls.enabled,
    s3Endpoint: settings.spaces.endpoint,
  };
  const checked = await checkSites({
    folder: settings.folders.sites,
    artifactsFolder: artifacts,
    surroundings: unknownSurroundings(known),
    stack: settings.stack,
    allowedCommands: settings.allowedCommands,
    limits: settings.archiveLimits,
    analysis: settings.analysis,
    log: (line) => console.error(line),
  });
  const found = checked.map(({ site }) => site);
  const secrets = siteSecrets(found, settings.secrets, settings.server.keyNumber);
  for (const line of unsetSecrets(found, settings.secrets)) console.error(`warning: ${line}`);
  const scripts = await packServerScripts(join(project, "server-scripts"), join(home, "server-scripts"));
  const wheels = await carriedDigest(project);
  judge(await analysesOf(checked), settings.analysis, (line) => console.error(line));
  const { enabled, hsts, acmeServer: directory, acmeCaFile } = settings.tls;
  const ca = await readRoots(acmeCaFile);
  const tls = { enabled, directory, trial: trialDirectory(directory), email: settings.techEmail, ca, hsts };
  const configuration = await configurationDigest(project, settings.stack);
  const files = {
    format: factsFormat,
    inputs: { configuration, "server scripts": scripts.sha256, "Python packages": wheels },
    fetchWheels: settings.fetchWheels,
    archiveLimits: settings.archiveLimits,
    analysis: settings.analysis,
    sitesFolder: relative(project, settings.folders.sites),
    sites: Object.fromEntries(checked.map(({ site, ports }) => [site.slug, factsOf(site, ports)])),
  } as const;
  const sites = await Promise.all(
    checked.map(async (each) => {
      return { ...each, reason: await reasonOfUp(home, settings.stack, each.site.slug) };
    }),
  );
  return { settings, known, sites, secrets, scripts, wheels, tls, files };
}
