import { existsSync } from "node:fs";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { sha256 } from "../lib/archive.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { closest, publicKeyObjectKey, secretsObjectKey } from "../lib/names.ts";
import { readSiteFile } from "../lib/site-file.ts";
import { type WantedSecret, wantedSecrets, wholeFile } from "../lib/site-secrets.ts";
import { UserError } from "../lib/user-error.ts";
import { getContent, openSpaces } from "../local-commands/spaces.ts";
import { stack as stackOfLocalCloud } from "./pulumi.ts";
import { type ConfigChange, changeConfig } from "./secrets-config.ts";
import { sitesFolder } from "./sites-folder.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";
import { readOutputs, upCommand } from "./stack-outputs.ts";

/** A service of a site, in one stack. */
export interface SecretTarget {
  readonly stack: string;
  readonly slug: string;
  readonly service: string;
}

const print = (line: string): void => void process.stdout.write(`${line}\n`);

/**
 * Stores standard input, whatever bytes it has, as a service's secrets file in the stack's configuration, in place of what was there.
 * @throws UserError when the service wants no secrets, there is nothing to store, or it is too large
 */
export async function setSecret(target: SecretTarget, input: NodeJS.ReadStream = process.stdin): Promise<void> {
  const { slug, service, stack } = target;
  const { file } = await findWanted(target);
  const way = `npx chillbox secrets set ${slug} ${service} <FILE`;
  if (input.isTTY)
    throw new UserError(`The secret comes from standard input, so that no other program sees it: ${way}`);
  const content = await buffer(input);
  if (content.length === 0) throw new UserError(`Standard input is empty: ${way}`);
  await changeConfig(stack, [
    { words: ["set", "--secret", "--path", pathOf(target)], input: wholeFile(Buffer.from(content)) },
  ]);
  print(
    `${file} of ${slug} ${service} is set, ${content.length} bytes. \`${upCommand(stack)}\` takes it to the server.`,
  );
}

/** Takes a secret out of the stack's configuration: of one key, a service, or a site, whether the site still has it or not. */
export async function removeSecret({ stack, ...names }: RemoveTarget): Promise<void> {
  const { slug, service, key } = names;
  const words = [slug, service, key].filter((word) => word !== undefined);
  const { secrets } = await readConfig(stackConfigFile(localCloudSettings(), stack));
  if (!isIn(secrets, words))
    throw new UserError(`${words.join(" ")} is not set: \`npx chillbox secrets\` lists what is.`);
  await changeConfig(stack, [{ words: ["rm", "--path", ["secrets", ...words].join(".")] }]);
  print(`${words.join(" ")} is not set any more. \`${upCommand(stack)}\` takes it from the server.`);
}

/** Whether there is something at a path of a map of maps. */
function isIn(map: unknown, [name, ...rest]: readonly string[]): boolean {
  if (name === undefined) return map !== undefined;
  return typeof map === "object" && map !== null && isIn((map as Record<string, unknown>)[name], rest);
}

export interface RemoveTarget {
  readonly stack: string;
  readonly slug: string;
  readonly service?: string;
  readonly key?: string;
}

/**
 * Takes a secrets file of the older format, which other tools have put into the artifact bucket, for a service: its digest and the number
 * of the key that opens it go into the stack's configuration. From then on that file and no other is taken to the server.
 * @throws UserError when there is none, or it cannot be for this server
 */
export async function adoptSecret(target: SecretTarget): Promise<void> {
  const { stack, slug, service } = target;
  const { file } = await findWanted(target);
  const { facts, unlock } = await readOutputs(stack);
  if (!facts || !unlock)
    throw new UserError(`The server has no key for secrets yet: \`${upCommand(stack)}\` makes it.`);
  const { artifactBucket: bucket, ...spaces } = facts.buckets;
  const { hostName } = unlock;
  const settings = localCloudSettings();
  const client = openSpaces(spaces, stack === stackOfLocalCloud ? { HTTP_PROXY: settings.spacesProxy } : process.env);
  const keyObject = publicKeyObjectKey(hostName);
  const published = await getContent(client, bucket, keyObject);
  if (published?.content.toString().trim() !== unlock.publicKey.trim()) {
    throw new UserError(
      `${keyObject} in ${bucket} is not the server's key: what was encrypted to it can be read by whoever put it there. Nothing was adopted. Find out who did it; \`npx chillbox rotate-key\` puts the right one there.`,
    );
  }
  const object = secretsObjectKey(slug, service, hostName, file);
  const found = await getContent(client, bucket, object);
  if (!found) throw new UserError(`${bucket} has no ${object}. Put it there first.`);
  checkOlder(found.content, object);
  const digest = sha256(found.content);
  print(`${object}: ${found.content.length} bytes, put at ${found.when.toISOString()}, SHA-256 ${digest}`);
  await changeConfig(stack, [
    removal(target),
    { words: ["set", "--secret", "--path", `${pathOf(target)}.older`], input: digest },
    { words: ["set", "--secret", "--path", `${pathOf(target)}.key`], input: String(unlock.number) },
  ]);
  print(`It is the secret of ${slug} ${service} now. \`${upCommand(stack)}\` takes it to the server.`);
}

/** 512 bytes of a password under RSA-4096, then what `openssl enc -salt` writes: "Salted__", 8 bytes, blocks of 16. */
function checkOlder(content: Buffer, object: string): void {
  const rest = content.length - 512 - 16;
  if (content.subarray(512, 520).toString("latin1") === "Salted__" && rest > 0 && rest % 16 === 0) return;
  throw new UserError(
    `${object} is not of the older format: 512 bytes of a password that was encrypted with RSA-4096, then what \`openssl enc -aes-256-cbc -salt\` writes.`,
  );
}

/** Nothing can be set inside of a text, so a whole file goes first. */
function removal(target: SecretTarget): ConfigChange {
  return { words: ["rm", "--path", pathOf(target)] };
}

function pathOf({ slug, service }: SecretTarget): string {
  return `secrets.${slug}.${service}`;
}

/**
 * What a service of a site wants.
 * @throws UserError when there is no such site or service, or it wants no secrets
 */
async function findWanted({ stack, slug, service }: SecretTarget): Promise<WantedSecret> {
  const path = join(await sitesFolder(localCloudSettings(), stack), `${slug}.site.json`);
  if (!existsSync(path)) throw new UserError(`There is no site "${slug}": ${path} does not exist.`);
  const wanted = wantedSecrets(await readSiteFile(path));
  const found = wanted.find((each) => each.service === service);
  if (found) return found;
  const names = wanted.map((each) => each.service);
  const near = closest(service, names);
  const others = names.length === 0 ? `No service of ${slug} does.` : `Those that do: ${names.join(", ")}.`;
  throw new UserError(
    `No service "${service}" of ${slug} has a "secrets_config".${near === undefined ? "" : ` Did you mean "${near}"?`} ${others}`,
  );
}
