import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/**
 * Folder of everything that is fetched or built once for all copies of chillbox: `${XDG_CACHE_HOME:-~/.cache}/chillbox`. The XDG
 * specification says that a relative path in `XDG_CACHE_HOME` is to be ignored. `toolchain/start.mjs`, which runs on any Node, has the
 * same in plain JavaScript.
 */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const configured = environment.XDG_CACHE_HOME ?? "";
  const parent = isAbsolute(configured) ? configured : join(environment.HOME ?? homedir(), ".cache");
  return join(parent, "chillbox");
}
