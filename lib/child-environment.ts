/**
 * What a child process may know. The program's own environment holds every secret of the stack (Pulumi hands over decrypted
 * config that way), so children get the few names below and nothing else.
 */

/** For any program: where things are and how to speak. */
const basicNames = [
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

/** For chillbox's own commands: which copy of the local cloud, and the way to Spaces. */
const chillboxNames = [
  "CHILLBOX_HOME",
  "CHILLBOX_PORT_BASE",
  "CHILLBOX_ADDRESS_RANGE",
  "ALPINE_MIRROR",
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "NO_PROXY",
] as const;

/**
 * The environment for a program that is not chillbox's, such as a site's `make`: names of an allow-list, set ones only.
 * Proxies are left out, because under chillbox `HTTP_PROXY` leads to Spaces alone.
 */
export function childEnvironment(environment: NodeJS.ProcessEnv = process.env): Record<string, string> {
  return pick(environment, basicNames);
}

/**
 * The command line with which the `command` plugin starts one of chillbox's scripts, in the program's folder.
 * The plugin's environment may hold secrets, hence `env -i` with an allow-list; only set names are passed on.
 * @param script path relative to the repository, such as `local-commands/put-object.ts`
 * @param words arguments: plain words of `[A-Za-z0-9._/-]`, because no secret and no name chosen by people belongs here
 */
export function localCommandLine(script: string, ...words: string[]): string {
  const plain = /^[A-Za-z0-9._/-]+$/;
  for (const word of [script, ...words]) {
    if (!plain.test(word)) throw new Error(`"${word}" is not a plain word`);
  }
  // ${NAME:+...} drops a name that is not set; the inner quotes keep a value with blanks in one piece.
  const names = [...basicNames, ...chillboxNames].map((name) => `\${${name}:+"${name}=$${name}"}`);
  return `exec env -i ${names.join(" ")} node ${[script, ...words].join(" ")}`;
}

function pick(environment: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  const picked: Record<string, string> = {};
  for (const name of names) {
    const value = environment[name];
    if (value !== undefined) picked[name] = value;
  }
  return picked;
}
