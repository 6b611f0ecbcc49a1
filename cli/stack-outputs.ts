import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { checkPassphraseSource } from "../lib/passphrase.ts";
import { UserError } from "../lib/user-error.ts";
import type { SpacesTarget } from "../local-commands/spaces.ts";
import { lookForTools } from "../toolchain/setup.ts";
import type { Connection } from "./connection.ts";
import {
  askPulumi,
  checkPassphrase,
  type Pulumi,
  preparePulumi,
  stackExists,
  stack as stackOfLocalCloud,
} from "./pulumi.ts";

/** What a stack tells of itself, secrets included; see `index.ts`. */
export interface Outputs {
  readonly connection: Connection;
  /** The server's key for sites' secrets: absent until the first `up` that knows it. */
  readonly unlock?: { readonly number: number; readonly passphrase: string; readonly publicKey: string };
  readonly artifacts?: { readonly spaces: SpacesTarget; readonly hostName: string };
}

/**
 * Pulumi for any stack of this copy.
 * @throws UserError when the passphrase is gone, or others can read it
 */
export async function pulumiFor(stack: string): Promise<Pulumi> {
  const settings = localCloudSettings();
  const isLocal = stack === stackOfLocalCloud;
  if (isLocal) checkPassphrase(settings);
  const pulumi = preparePulumi(settings, await lookForTools({ needs: ["pulumi"], settings }));
  return isLocal ? pulumi : { ...pulumi, environment: { ...pulumi.environment, ...ownPassphrase(stack) } };
}

/**
 * Reads a stack's outputs, decrypted; they stay in memory.
 * @throws UserError when the stack has no server
 */
export async function readOutputs(stack: string): Promise<Outputs> {
  if (stack === stackOfLocalCloud && !stackExists(localCloudSettings())) {
    throw new UserError(`There is no stack ${stack} yet: \`npm run up\` makes it.`);
  }
  const words = ["stack", "output", "--stack", stack, "--show-secrets", "--json", "--non-interactive"];
  const outputs = JSON.parse(await askPulumi(await pulumiFor(stack), words)) as Partial<Outputs>;
  if (!outputs.connection?.hostKey) {
    throw new UserError(`Stack ${stack} has no server: \`${upCommand(stack)}\` makes it.`);
  }
  return outputs as Outputs;
}

/** How a person deploys a stack. */
export function upCommand(stack: string): string {
  return stack === stackOfLocalCloud ? "npm run up" : `pulumi up --stack ${stack}`;
}

/** Another stack's passphrase file or backend is the person's own matter. @throws UserError when others can read the passphrase */
function ownPassphrase(stack: string): Record<string, string> {
  checkPassphraseSource(process.env, stack);
  const names = ["PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_ACCESS_TOKEN"];
  const own = names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  // Without a file of the person's own, the local stack's must not be tried.
  return { PULUMI_CONFIG_PASSPHRASE_FILE: "", ...Object.fromEntries(own) };
}
