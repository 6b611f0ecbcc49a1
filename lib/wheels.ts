import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * The folder of the Python wheels that every server gets, which set-up fills: named by the digest of the list of what is in it.
 * @param requirements path of `requirements.txt`, with hashes
 */
export async function wheelsFolder(
  requirements: string,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const cache = environment.XDG_CACHE_HOME || join(environment.HOME ?? homedir(), ".cache");
  const digest = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex");
  return join(cache, "chillbox", "wheels", digest.slice(0, 16));
}
