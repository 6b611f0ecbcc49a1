import { join } from "node:path";
import { parse } from "yaml";
import { judge, mayStop } from "../lib/analysis/analyse.ts";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { unknownSurroundings } from "../lib/manifest.ts";
import type { SiteFile } from "../lib/site-file.ts";
import { siteSecrets, unsetSecrets } from "../lib/site-secrets.ts";
import { analysesOf, checkSites } from "../lib/sites.ts";
import { readIfThere } from "../toolchain/files.ts";
import { say } from "../toolchain/progress.ts";
import { stack } from "./pulumi.ts";
import { hasPlainText, withoutValues } from "./secrets-config.ts";
import { plainConfig, readConfig, stackConfigFile } from "./stack-config.ts";

/** Where a key of Pulumi.yaml says what holds without a value. */
interface ProjectFile {
  readonly name: string;
  readonly config?: Record<string, { readonly default?: unknown; readonly secret?: boolean }>;
}

/**
 * Checks what the program would refuse on this machine, before anything is started or changed: the configuration, the site files, and
 * that each site's release can be built. Needs no Pulumi engine.
 * @returns the sites
 * @throws UserError with everything that is wrong
 */
export async function checkProject(settings: LocalCloudSettings): Promise<SiteFile[]> {
  const project = parse((await readIfThere(join(settings.repository, "Pulumi.yaml"))) ?? "") as ProjectFile;
  const { secrets = {} } = await readConfig(stackConfigFile(settings));
  const config = await configOf(project, settings);
  // As the program itself starts: see there.
  await import("../toolchain/quick-start.mjs");
  const read = await withConfig(project, config, !hasPlainText(secrets), async () =>
    (await import("../settings.ts")).readSettings(),
  );
  const { folders, server, techEmail, tls, dns, spaces, allowedCommands, archiveLimits, analysis } = read;
  const surroundings = unknownSurroundings({
    serverName: server.name,
    techEmail,
    manageDns: dns.manage,
    acmeServer: tls.acmeServer,
    tls: tls.enabled,
    s3Endpoint: spaces.endpoint,
  });
  const sites = await checkSites({
    folder: folders.sites,
    artifactsFolder: folders.artifacts,
    surroundings,
    stack,
    allowedCommands,
    limits: archiveLimits,
    analysis,
    log: say,
  });
  // The program tells the rest, when it is known.
  if (mayStop(analysis)) judge(await analysesOf(sites), analysis);
  const found = sites.map(({ site }) => site);
  siteSecrets(found, read.secrets);
  for (const line of unsetSecrets(found, read.secrets)) say(`warning: ${line}`);
  return found;
}

/** The configuration as the program will see it; secrets, which only Pulumi can read, are a word that stands for them. */
async function configOf(project: ProjectFile, settings: LocalCloudSettings): Promise<Record<string, string>> {
  const defaults = Object.entries(project.config ?? {}).map(([key, { default: value, secret }]) => {
    return [key, secret ? "(secret)" : value] as const;
  });
  const own = await readConfig(stackConfigFile(settings));
  const merged = { ...Object.fromEntries(defaults), ...plainConfig(settings), ...own };
  return Object.fromEntries(
    Object.entries(merged)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [`${project.name}:${key}`, textOf(key === "secrets" ? withoutValues(value) : value)]),
  );
}

function textOf(value: unknown): string {
  if (typeof value === "string") return value;
  const isSecret = typeof value === "object" && value !== null && "secure" in value;
  return isSecret ? "(secret)" : JSON.stringify(value);
}

/** Hands configuration to Pulumi's library the way the engine does, for as long as `read` takes. */
async function withConfig<T>(
  project: ProjectFile,
  config: Record<string, string>,
  secretsAreEncrypted: boolean,
  read: () => Promise<T>,
): Promise<T> {
  const variables = {
    PULUMI_CONFIG: JSON.stringify(config),
    PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(secretsAreEncrypted ? [`${project.name}:secrets`] : []),
    PULUMI_NODEJS_PROJECT: project.name,
    PULUMI_NODEJS_STACK: stack,
  };
  Object.assign(process.env, variables);
  try {
    return await read();
  } finally {
    for (const name of Object.keys(variables)) delete process.env[name];
  }
}
