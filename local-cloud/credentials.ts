import { randomBytes, randomInt } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { replaceFile } from "./process.ts";

/** What a client of the local cloud signs in with. */
export interface Credentials {
  /** Of the API, in the form of DigitalOcean's personal access tokens. */
  readonly token: string;
  /** A Spaces key with full access. */
  readonly spacesAccessKey: string;
  readonly spacesSecretKey: string;
}

/** File with the credentials, readable by its owner only. */
export function credentialsFile(settings: LocalCloudSettings): string {
  return join(settings.cloud, "credentials.json");
}

/**
 * The credentials of this copy of the local cloud, or `undefined` before its first start.
 * @throws UserError when the file is damaged.
 */
export async function readCredentials(settings: LocalCloudSettings): Promise<Credentials | undefined> {
  const path = credentialsFile(settings);
  const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") {
      return undefined;
    }
    throw error;
  });
  if (text === undefined) {
    return undefined;
  }
  try {
    const { token, spacesAccessKey, spacesSecretKey } = JSON.parse(text) as Credentials;
    if ([token, spacesAccessKey, spacesSecretKey].every((value) => typeof value === "string" && value !== "")) {
      return { token, spacesAccessKey, spacesSecretKey };
    }
  } catch {
    // said below
  }
  throw new UserError(
    `${path} is damaged. \`npx chillbox cloud reset\` starts the local cloud anew, without its data.`,
  );
}

/** The credentials, made at the first call. */
export async function makeCredentials(settings: LocalCloudSettings): Promise<Credentials> {
  const known = await readCredentials(settings);
  if (known) {
    return known;
  }
  const credentials = {
    token: `dop_v1_${randomBytes(32).toString("hex")}`,
    spacesAccessKey: `DO00${randomText("ABCDEFGHJKLMNPQRSTUVWXYZ23456789", 16)}`,
    spacesSecretKey: randomBytes(32).toString("base64url"),
  };
  await replaceFile(credentialsFile(settings), `${JSON.stringify(credentials, null, 2)}\n`);
  return credentials;
}

function randomText(alphabet: string, length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join("");
}
