import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { pulumiEnvironment } from "../toolchain/environment.ts";
import { aloneWithStack } from "./stack-lock.ts";

export interface DeployRequest {
  readonly stack: string;
  readonly slugs: readonly string[];
  /** For the log of deploys. */
  readonly reason: string;
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
  // Loaded while the lock is waited for.
  const loading = import("./deploy-sites.ts");
  const action = async () => (await loading).deploySites(settings, request);
  await aloneWithStack(settings, command, action, request.stack);
}
