import { join } from "node:path";
import { Provider } from "@pulumi/digitalocean/provider.js";
import * as pulumi from "@pulumi/pulumi";
import { AdminKey } from "./components/admin-key.ts";
import { Dns } from "./components/dns.ts";
import { shortenFollowUpErrors } from "./components/failures.ts";
import { Image } from "./components/image.ts";
import { Network } from "./components/network.ts";
import { Project } from "./components/project.ts";
import { keepEverythingSecret } from "./components/secrecy.ts";
import { Server } from "./components/server.ts";
import { Site } from "./components/site.ts";
import { Storage } from "./components/storage.ts";
import { UserData } from "./components/user-data.ts";
import { readRoots, trialDirectory } from "./lib/acme.ts";
import { unknownSurroundings } from "./lib/manifest.ts";
import { bucketHost } from "./lib/names.ts";
import { packServerScripts } from "./lib/server-scripts.ts";
import { checkSites } from "./lib/sites.ts";
import { UserError } from "./lib/user-error.ts";
import { carriedDigest } from "./lib/wheels.ts";
import { readSettings } from "./settings.ts";

shortenFollowUpErrors();
// First everything that can be wrong on the laptop: it stops the program before a resource is asked for.
const { settings, known, sites, scripts, wheels, tls } = await prepare().catch((error: unknown) => {
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
    storage,
    spacesEndpoint: endpoint,
    scripts,
    wheelsDigest: wheels,
    adminPublicKeys: serverSettings.adminPublicKeys,
    keepReleases: serverSettings.keepReleases,
    tls,
    sshAllowedAddresses: serverSettings.sshAllowedAddresses,
    outbound: serverSettings.outbound,
    limits: serverSettings.limits,
    protect,
  },
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
for (const { site, release } of sites) {
  const { fetchWheels } = settings;
  new Site(`site-${site.slug}`, { site, release, surroundings, storage, server, fetchWheels }, opts);
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

/** The address that sites are reached at. Public anyway: DNS tells it. */
export const ipAddress = pulumi.unsecret(reservedIp.ipAddress);
/** Where each site is. */
export const urls = sites.map(({ site }) => `http://${site.serverName}`);
/** How the admin user reaches the server by ssh. */
export const connection = pulumi.secret(server.connection);

async function prepare() {
  const settings = readSettings();
  const { project, artifacts, home } = settings.folders;
  const known = {
    serverName: settings.server.name,
    techEmail: settings.techEmail,
    manageDns: settings.dns.manage,
    acmeServer: settings.tls.acmeServer,
    tls: settings.tls.enabled,
    s3Endpoint: settings.spaces.endpoint,
  };
  const sites = await checkSites({
    folder: settings.folders.sites,
    artifactsFolder: artifacts,
    surroundings: unknownSurroundings(known),
    stack: settings.stack,
    allowedCommands: settings.allowedCommands,
    limits: settings.archiveLimits,
    log: (line) => console.error(line),
  });
  const scripts = await packServerScripts(join(project, "server-scripts"), join(home, "server-scripts"));
  const wheels = await carriedDigest(project);
  const { enabled, hsts, acmeServer: directory, acmeCaFile } = settings.tls;
  const ca = await readRoots(acmeCaFile);
  const tls = { enabled, directory, trial: trialDirectory(directory), email: settings.techEmail, ca, hsts };
  return { settings, known, sites, scripts, wheels, tls };
}
