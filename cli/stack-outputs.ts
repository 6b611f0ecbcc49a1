import { readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { checkPassphraseSource } from "../lib/passphrase.ts";
import type { StackFacts } from "../lib/stack-facts.ts";
import { UserError } from "../lib/user-error.ts";
import { passphraseFile } from "../toolchain/environment.ts";
import type { Connection } from "./connection.ts";
import { cachedOutputs, forgetOutputs, type OutputsOf } from "./outputs-cache.ts";
import {
  askPulumi,
  checkPassphrase,
  type Pulumi,
  preparePulumi,
  stackExists,
  stack as stackOfLocalCloud,
  stateFile,
} from "./pulumi.ts";

/** As much of a stack's outputs as commands read. */
export interface StackOutputs {
  readonly connection: Connection;
  readonly facts?: StackFacts;
  /** The server's key for secrets; absent until the first `up` that knows of it. */
  readonly unlock?: {
    readonly number: number;
    readonly passphrase: string;
    readonly publicKey: string;
    readonly hostName: string;
  };
}

/**
 * The outputs of a stack whose server exists.
 * @throws UserError when there is no such stack or server, others can read the passphrase, or Pulumi cannot open the state
 */
export async function readOutputs(stack: string): Promise<StackOutputs> {
  const settings = localCloudSettings();
  if (stack === stackOfLocalCloud && !stackExists(settings)) {
    throw new UserError(`There is no stack ${stack} yet: \`npm run up\` makes it.`);
  }
  checkPassphraseOf(settings, stack);
  const of = await outputsOf(settings, stack);
  const text = of ? await cachedOutputs(of, () => ask(settings, stack)) : await ask(settings, stack);
  const outputs = JSON.parse(text) as Partial<StackOutputs>;
  if (!outputs.connection?.hostKey)
    throw new UserError(`Stack ${stack} has no server: \`${upCommand(stack)}\` makes it.`);
  return { ...outputs, connection: outputs.connection };
}

/**
 * Pulumi for any stack of this copy.
 * @throws UserError when the passphrase is gone, or others can read it
 */
export async function pulumiFor(stack: string): Promise<Pulumi> {
  const settings = localCloudSettings();
  checkPassphraseOf(settings, stack);
  return prepare(settings, stack);
}

function checkPassphraseOf(settings: LocalCloudSettings, stack: string): void {
  if (stack === stackOfLocalCloud) checkPassphrase(settings);
  else checkPassphraseSource(process.env, stack);
}

/** Forgets what was kept of a stack's outputs. */
export async function forgetStackOutputs(settings: LocalCloudSettings, stack: string): Promise<void> {
  const of = await outputsOf(settings, stack);
  if (of) await forgetOutputs(of);
}

/** What brings a stack up to date. */
export function upCommand(stack: string): string {
  return stack === stackOfLocalCloud ? "npm run up" : `pulumi up --stack ${stack}`;
}

/** `undefined` where the state is not a file below the project: nothing would tell that it has changed. */
async function outputsOf(settings: LocalCloudSettings, stack: string): Promise<OutputsOf | undefined> {
  const project = await readFile(join(settings.repository, "Pulumi.yaml"), "utf8").catch(() => "");
  if (!/^\s+url: file:\/\/\.\/state(\?|$)/m.test(project)) return undefined;
  return { stateFile: stateFile(settings, stack), passphraseFile: passphraseFileOf(settings, stack) };
}

function passphraseFileOf(settings: LocalCloudSettings, stack: string): string | undefined {
  if (stack === stackOfLocalCloud) return passphraseFile(settings);
  const { PULUMI_CONFIG_PASSPHRASE_FILE: file } = process.env;
  return file ? resolve(settings.repository, file) : undefined;
}

async function ask(settings: LocalCloudSettings, stack: string): Promise<string> {
  const words = ["stack", "output", "--stack", stack, "--show-secrets", "--json", "--non-interactive"];
  return askPulumi(await prepare(settings, stack), words);
}

async function prepare(settings: LocalCloudSettings, stack: string): Promise<Pulumi> {
  // Only now: what is kept is read before all of set-up would be loaded.
  const { lookForTools } = await import("../toolchain/setup.ts");
  const pulumi = preparePulumi(settings, await lookForTools({ needs: ["pulumi"], settings }));
  const isLocal = stack === stackOfLocalCloud;
  return isLocal ? pulumi : { ...pulumi, environment: { ...pulumi.environment, ...ownPassphrase() } };
}

/** Another stack's passphrase file or backend is the person's own matter. */
function ownPassphrase(): Record<string, string> {
  const names = ["PULUMI_CONFIG_PASSPHRASE_FILE", "PULUMI_ACCESS_TOKEN"];
  const own = names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]));
  // Without a file of the person's own, the local stack's must not be tried.
  return { PULUMI_CONFIG_PASSPHRASE_FILE: "", ...Object.fromEntries(own) };
}
