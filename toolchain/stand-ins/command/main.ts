/**
 * Stand-in for the provider plugin `command` 1.2.1: runs commands here (`local.Command`) and over ssh (`remote.Command`), and copies
 * files over ssh (`remote.CopyToRemote`), as the official plugin does.
 */
import { startCompileCache } from "../plugin/compile-cache.ts";

startCompileCache();

const { servePlugin } = await import("../plugin/server.ts");
const { commandPlugin } = await import("./plugin.ts");

servePlugin(commandPlugin);
