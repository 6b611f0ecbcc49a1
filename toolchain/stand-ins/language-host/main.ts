/**
 * Stand-in for Pulumi's Node language host: runs the program of stack `local` for the real engine.
 */
import { enableCompileCache } from "node:module";

enableCompileCache();

const { serveLanguageHost } = await import("./host.ts");

serveLanguageHost();
