/**
 * Stand-in for the provider plugin `digitalocean` 4.80.1: the resource types that chillbox uses, against the local cloud alone.
 */
import { startCompileCache } from "../plugin/compile-cache.ts";

startCompileCache();

const { servePlugin } = await import("../plugin/server.ts");
const { digitaloceanPlugin } = await import("./plugin.ts");

servePlugin(digitaloceanPlugin());
