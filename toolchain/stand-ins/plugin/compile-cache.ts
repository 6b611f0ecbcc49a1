import { enableCompileCache, flushCompileCache } from "node:module";
import { join } from "node:path";

/**
 * Keeps compiled code in Pulumi's home, so that a stand-in starts sooner the next time. To be called before anything big is imported.
 */
export function startCompileCache(): void {
  const home = process.env.PULUMI_HOME;
  if (home) {
    enableCompileCache(join(home, "compile-cache"));
  }
}

/** Writes what was compiled so far: the engine ends its plugins by a signal, after which nothing would be written. */
export function saveCompileCache(): void {
  setImmediate(flushCompileCache);
}
