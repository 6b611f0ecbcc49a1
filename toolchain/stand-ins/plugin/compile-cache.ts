import { enableCompileCache, flushCompileCache } from "node:module";
import { join } from "node:path";

/** Folder for compiled code in Pulumi's home, or `undefined` without such a home. */
export function compileCacheFolder(): string | undefined {
  const home = process.env.PULUMI_HOME;
  return home ? join(home, "compile-cache") : undefined;
}

/**
 * Keeps compiled code in Pulumi's home, so that a stand-in starts sooner the next time. To be called before anything big is imported.
 */
export function startCompileCache(): void {
  const folder = compileCacheFolder();
  if (folder !== undefined) {
    enableCompileCache(folder);
  }
}

/** Writes what was compiled so far: the engine ends its plugins by a signal, after which nothing would be written. */
export function saveCompileCache(): void {
  setImmediate(flushCompileCache);
}
