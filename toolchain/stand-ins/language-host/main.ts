/**
 * Stand-in for Pulumi's Node language host: runs the program of stack `local` for the real engine.
 */
import { startCompileCache } from "../plugin/compile-cache.ts";

startCompileCache();

const { serveLanguageHost } = await import("./host.ts");

serveLanguageHost();
