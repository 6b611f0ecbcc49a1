import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "./cache-folder.ts";

/**
 * The folder of the Python wheels that every server gets, which set-up fills: named by the digest of the list of what is in it.
 * @param requirements path of `requirements.txt`, with hashes
 */
export async function wheelsFolder(
  requirements: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const digest = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex");
  return join(cacheFolder(environment), "wheels", digest.slice(0, 16));
}
