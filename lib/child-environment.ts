/**
 * What a child process may know. The program's own environment holds every secret of the stack (Pulumi hands over decrypted
 * config that way), so children get the few names below and nothing else.
 */

/** Where things are and how to speak. */
const names = [
  "PATH",
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
  "LANG",
  "LC_ALL",
  "TERM",
  "TMPDIR",
  "XDG_CACHE_HOME",
  "XDG_RUNTIME_DIR",
  "SSL_CERT_FILE",
  "NODE_EXTRA_CA_CERTS",
] as const;

/**
 * The environment for a program that is not chillbox's, such as a site's `make`: names of an allow-list, set ones only.
 * Proxies are left out, because under chillbox `HTTP_PROXY` leads to Spaces alone.
 */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return pick(environment);
}

/**
 * The command line with which the `command` plugin starts one of chillbox's scripts, in the program's folder. `run.sh` clears the
 * environment, because the plugin's may hold secrets; it is a script of its own because a failed command is shown whole.
 * @param script path relative to the repository, such as `local-commands/put-release.ts`
 * @param words arguments: plain words of `[A-Za-z0-9._/-]`, because no secret and no name chosen by people belongs here
 */
export function localCommandLine(script: string, ...words: string[]): string {
  for (const word of [script, ...words]) {
    if (!/^[A-Za-z0-9._/-]+$/.test(word)) throw new Error(`"${word}" is not a plain word`);
  }
  return `sh local-commands/run.sh ${[script, ...words].join(" ")}`;
}

function pick(environment: NodeJS.ProcessEnv): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = environment[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}
