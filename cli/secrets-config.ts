import { existsSync } from "node:fs";
import { copyFile, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { configProblem } from "../lib/config-size.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { isAlive } from "../lib/processes.ts";
import { readSecretsConfig, type SecretsConfig, wholeFile } from "../lib/site-secrets.ts";
import { UserError } from "../lib/user-error.ts";
import { askPulumi, stack as stackOfLocalCloud } from "./pulumi.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";
import { aloneWithStack } from "./stack-lock.ts";
import { pulumiFor } from "./stack-outputs.ts";

/**
 * `secrets` of a stack's file as it would be decrypted, but with as many letters in the place of each value as it has bytes, so that what is set can be told, and how
 * large it is, without the passphrase. What is encrypted as a whole tells nothing.
 */
export function withoutValues(value: unknown, path: readonly string[] = []): unknown {
  if (typeof value === "string") return standIn(Buffer.byteLength(value), path);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const { secure } = value as { secure?: unknown };
  if (typeof secure === "string") return path.length < 2 ? {} : standIn(decryptedBytes(secure), path);
  if (path.length === 2 && "older" in value) return { older: "0".repeat(64), key: "1" };
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutValues(inner, [...path, key])]));
}

function standIn(bytes: number, path: readonly string[]): string {
  if (path.length === 2) return wholeFile(Buffer.alloc(Math.max(1, Math.floor(((bytes - "base64:".length) * 3) / 4))));
  return "x".repeat(bytes);
}

/** Pulumi writes `v1:<nonce>:<ciphertext and 16 bytes of tag, base64>`. */
function decryptedBytes(secure: string): number {
  return Math.max(0, Buffer.from(secure.split(":")[2] ?? "", "base64").length - 16);
}

/** Whether a value of a stack's file holds something that anybody can read. */
export function hasPlainText(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (typeof (value as { secure?: unknown }).secure === "string") return false;
  return Object.values(value).some(hasPlainText);
}

/** What a stack's configuration has of secrets; values are stand-ins of the same length. */
export async function readSetSecrets(stack: string): Promise<SecretsConfig> {
  const { secrets } = await readConfig(stackConfigFile(localCloudSettings(), stack));
  return readSecretsConfig(withoutValues(secrets ?? {}), () => {});
}

/** One `pulumi config ...`, and its standard input: the place for a secret. */
export interface ConfigChange {
  readonly words: readonly string[];
  readonly input?: string;
}

/**
 * Changes a stack's configuration: all of it or, when something fails or this process is killed, nothing.
 * @throws UserError when there is no such stack, Pulumi refuses, or the configuration would be too large
 */
export async function changeConfig(stack: string, changes: readonly ConfigChange[]): Promise<void> {
  const settings = localCloudSettings();
  const file = stackConfigFile(settings, stack);
  if (!existsSync(file)) {
    const way = stack === stackOfLocalCloud ? "`npm run up` makes it" : "give --stack the name of one of your stacks";
    throw new UserError(`There is no ${basename(file)}: ${way}.`);
  }
  const pulumi = await pulumiFor(stack);
  const change = async () => {
    const temporary = `${file}.${process.pid}.yaml`;
    await removeLeftovers(file);
    try {
      await copyFile(file, temporary);
      for (const { words, input } of changes) {
        const options = ["--stack", stack, "--config-file", temporary, "--non-interactive"];
        await askPulumi(pulumi, ["config", ...words, ...options], input);
      }
      // Taking something out is always right: it is the way out of a configuration that is too large.
      if (changes.some(({ input }) => input !== undefined)) await checkSize(temporary);
      await rename(temporary, file);
    } finally {
      await rm(temporary, { force: true });
    }
  };
  // Only stack local has a lock of ours: `npm run up` writes to its file, too.
  await (stack === stackOfLocalCloud ? aloneWithStack(settings, "npx chillbox secrets", change) : change());
}

/** What earlier runs that were killed left beside a stack's file: like the file itself it is encrypted, and nobody needs it. */
async function removeLeftovers(file: string): Promise<void> {
  const prefix = `${basename(file)}.`;
  for (const name of await readdir(dirname(file))) {
    const pid = name.startsWith(prefix) ? Number(/^(\d+)\.yaml$/.exec(name.slice(prefix.length))?.[1] ?? 0) : 0;
    if (pid > 0 && !isAlive(pid)) await rm(join(dirname(file), name), { force: true });
  }
}

async function checkSize(file: string): Promise<void> {
  const config = await readConfig(file);
  const texts = Object.entries(config).map(([key, value]) => {
    return [`chillbox:${key}`, JSON.stringify(key === "secrets" ? withoutValues(value) : value)] as const;
  });
  const problem = configProblem(Object.fromEntries(texts));
  if (problem !== undefined) throw new UserError(`${problem}\nNothing was changed.`);
}
