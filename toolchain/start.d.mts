/** `${XDG_CACHE_HOME:-~/.cache}/chillbox`. */
export function cacheFolder(environment?: NodeJS.ProcessEnv): string;
/** Whether this version of Node strips types by itself. */
export function runsTypeScript(version: string): boolean;
/** Runs a TypeScript file with the Node and the packages that it needs. */
export function start(script: string, args: string[]): Promise<void>;
