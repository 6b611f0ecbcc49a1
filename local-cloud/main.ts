import { access, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "../lib/cache-folder.ts";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { openGatewayAuthority } from "./acme/authority.ts";
import { acmeFiles, startAcme } from "./acme/pebble.ts";
import { createApi, ensureOwnerKey, makeSpacesKeys, makeZones, openStore } from "./api/index.ts";
import { makeCredentials } from "./credentials.ts";
import { findCgroups, joinServices } from "./droplets/cgroups.ts";
import { createDriver, groupName } from "./droplets/driver.ts";
import { namespaceKind } from "./droplets/namespaces.ts";
import { qemuKind } from "./droplets/qemu.ts";
import { createDnsServer } from "./gateway/dns.ts";
import { createGateway } from "./gateway/gateway.ts";
import { log, serverLog } from "./log.ts";
import { createMetadata } from "./metadata/index.ts";
import { createNetwork, metadataPort } from "./network/router.ts";
import { removeProcess, userErrorMark, writeProcess } from "./process.ts";
import { toolPath } from "./run.ts";
import { startSpaces } from "./spaces/spaces.ts";

/** What must be undone at the stop, the last first. */
type Undo = () => Promise<unknown>;

/**
 * Makes every part of the local cloud and hands each the others. Whatever is made is entered in `undo` at once, so that a start that
 * fails half-way takes it all back.
 */
async function startParts(settings: LocalCloudSettings, undo: Undo[]): Promise<void> {
  const credentials = await makeCredentials(settings);
  const network = createNetwork(settings, log);
  undo.push(() => network.stop());
  await network.start();

  const makeKind = settings.dropletDriver === "qemu" ? qemuKind : namespaceKind;
  const driver = createDriver(settings, network, makeKind(settings, network, log), log);
  const store = openStore(join(settings.cloud, "api.sqlite"));
  undo.push(async () => store.close());
  await ensureOwnerKey(store, credentials.spacesAccessKey, credentials.spacesSecretKey);

  const acmeFolder = join(settings.cloud, "acme");
  const acme = startAcme({
    folder: acmeFolder,
    address: network.hostAddress,
    port: settings.ports.acme,
    rootPort: settings.ports.acmeRoot,
    dnsServer: `${network.hostAddress}:${settings.ports.dns}`,
    pebblePath: await findProgram("pebble", "2.10.1", "the ACME server"),
    log,
  });
  acme.catch(() => {}); // thrown below
  undo.push(async () => (await acme).stop());
  const spaces = await startSpaces({
    folder: join(settings.cloud, "spaces"),
    keys: makeSpacesKeys(store),
    versitygwPath: await findProgram("versitygw", "1.8.0", "the S3 server"),
    log,
  });
  undo.push(() => spaces.stop());
  await spaces.listen("127.0.0.1", settings.ports.spaces);
  await spaces.listen(network.hostAddress, settings.ports.spaces);

  const zones = makeZones(store);
  const dns = createDnsServer({ zones, hostAddress: network.hostAddress, log });
  undo.push(() => dns.close());
  await dns.listen("127.0.0.1", settings.ports.dns);
  await dns.listen(network.hostAddress, settings.ports.dns);
  const wayToHost = network.checkWayToHost(settings.ports.dns);
  wayToHost.catch(() => {}); // thrown below

  const gateway = createGateway({
    zones,
    port: settings.ports.gateway,
    tls: {
      port: settings.ports.gatewayTls,
      authority: await openGatewayAuthority(settings),
      roots: () => readFile(acmeFiles(acmeFolder).roots, "utf8"),
    },
    addressRange: settings.addressRange,
    log,
  });
  undo.push(() => gateway.stop());
  await gateway.start();

  const metadata = createMetadata({ store });
  undo.push(() => metadata.close());
  await metadata.listen({ host: network.hostAddress, port: metadataPort });

  const api = await createApi({
    store,
    driver,
    network,
    imagesFolder: join(settings.cloud, "images"),
    token: credentials.token,
    spacesProxy: settings.spacesProxy,
    log: serverLog("api"),
  });
  undo.push(() => driver.stopAll());
  undo.push(() => api.close());
  await wayToHost;
  await acme;
  await api.listen({ host: "127.0.0.1", port: settings.ports.api });
}

/** A program that set-up has: what the caller says, else on PATH, else in set-up's cache. */
async function findProgram(name: string, version: string, what: string): Promise<string> {
  const cache = join(cacheFolder(), name, version);
  const folders = [...toolPath.split(":").filter((folder) => folder !== ""), cache];
  const candidates = [process.env[`CHILLBOX_${name.toUpperCase()}`], ...folders.map((folder) => join(folder, name))];
  for (const path of candidates.filter((one) => one !== undefined)) {
    const found = await access(path).then(
      () => true,
      () => false,
    );
    if (found) {
      return path;
    }
  }
  throw new UserError(`${name}, ${what} of the local cloud, is missing: \`npm run doctor\` tells how to get it.`);
}

async function stopParts(undo: Undo[]): Promise<void> {
  for (const step of undo.splice(0).reverse()) {
    await step().catch((error) => log(`stop: ${String(error)}`));
  }
}

async function main(): Promise<void> {
  process.umask(0o077);
  const settings = localCloudSettings();
  const undo: Undo[] = [];
  let stopping: Promise<void> | undefined;
  const stop = (code: number) => {
    stopping ??= (async () => {
      await stopParts(undo);
      await removeProcess(settings);
      log("stopped");
      process.exit(code);
    })();
    return stopping;
  };
  process.on("SIGTERM", () => void stop(0));
  process.on("SIGINT", () => void stop(0));
  process.on("SIGHUP", () => {}); // the terminal of the start was closed
  process.on("unhandledRejection", (error) => log(`unexpected: ${describe(error)}`));
  process.on("uncaughtException", (error) => {
    log(`unexpected: ${describe(error)}`);
    void stop(1);
  });
  try {
    await mkdir(settings.cloud, { recursive: true, mode: 0o700 });
    if (isAbandoned()) return;
    await writeProcess(settings, false);
    // Whoever comes after a start that was killed until here has not seen this process.
    if (isAbandoned()) return await removeProcess(settings);
    await joinServices(await findCgroups(), groupName(settings));
    await startParts(settings, undo);
    await writeProcess(settings, true);
    log(`ready: API on ${settings.apiEndpoint}`);
  } catch (error) {
    log(error instanceof UserError ? `${userErrorMark}${error.message}` : describe(error));
    await stop(1);
  }
}

/** Whether the command that started this process is gone: then another start may be under way. */
function isAbandoned(): boolean {
  const starter = Number(process.env.CHILLBOX_STARTER);
  return starter > 0 && process.ppid !== starter;
}

function describe(error: unknown): string {
  if (error instanceof UserError) {
    return error.message;
  }
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

await main();
