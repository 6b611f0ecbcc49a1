import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { cacheFolder } from "./cache-folder.ts";
import { fillOnce, isThere } from "./fill-once.ts";
import { runPip, type ServerPython, targetOptions } from "./pip.ts";
import { UserError } from "./user-error.ts";

/**
 * The Python packages that chillbox carries to every server, in sets that go to folders of their own, so that a service sees only what
 * its kind needs. `pure` ones are the same for every server and fetched by set-up; which wheels the others are depends on the server.
 */
export const carriedSets = [
  /** gunicorn, pip, setuptools, wheel, packaging: `runtime` and `tools` on the server. */
  { name: "base", file: "requirements.txt", pure: true },
  /** uvicorn, for services with its worker class. */
  { name: "asgi", file: "asgi-requirements.txt", pure: true },
  /** chill and all it needs, for services of that kind. */
  { name: "chill", file: "chill-requirements.txt", pure: false },
] as const;

export type CarriedSet = (typeof carriedSets)[number]["name"];

/** Path of a set's list, with versions and hashes, relative to the repository. */
export function requirementsFile(set: CarriedSet): string {
  const { file } = carriedSets.find(({ name }) => name === set) ?? carriedSets[0];
  return join("server-scripts", "python", file);
}

/**
 * The cache's folder of a set of wheels, named by the digest of the list of what is in it and, unless all of it is pure Python, by the
 * server's Python and platform.
 * @param requirements path of the list, with hashes
 */
export async function wheelsFolder(
  requirements: string,
  server?: ServerPython,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  const digest = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const suffix = server ? `-cp${server.python.replace(".", "")}-${server.platforms[0]}` : "";
  return join(cacheFolder(environment), "wheels", `${digest}${suffix}`);
}

/** What changes whenever the carried packages do: SHA-256 in hex over all lists. */
export async function carriedDigest(repository: string): Promise<string> {
  const hash = createHash("sha256");
  for (const { name } of carriedSets)
    hash.update(await readFile(join(repository, requirementsFile(name)))).update("\0");
  return hash.digest("hex");
}

export interface CarriedOptions {
  readonly repository: string;
  readonly server: ServerPython;
  readonly log?: (line: string) => void;
  readonly environment?: NodeJS.ProcessEnv;
}

/** The folders of all sets for one server (see {@link carriedSet}). */
export async function carriedWheels(options: CarriedOptions): Promise<Record<CarriedSet, string>> {
  const folders: Partial<Record<CarriedSet, string>> = {};
  for (const { name } of carriedSets) folders[name] = await carriedSet(name, options);
  return folders as Record<CarriedSet, string>;
}

/**
 * The folder of a set's wheels for one server. What depends on the server is fetched now unless it is in the cache; set-up has fetched
 * the rest.
 * @throws UserError when there is no wheel for that server, or the index cannot be reached
 */
export async function carriedSet(set: CarriedSet, options: CarriedOptions): Promise<string> {
  const { repository, server, environment } = options;
  const requirements = join(repository, requirementsFile(set));
  const pure = carriedSets.some(({ name, pure }) => name === set && pure);
  const folder = await wheelsFolder(requirements, pure ? undefined : server, environment);
  if (await isThere(folder)) return folder;
  if (pure) throw new UserError(`${folder} is missing: run the set-up (npm run up), which fetches it.`);
  options.log?.(`fetching Python packages (${set}) for Python ${server.python} on ${server.platforms[0]}`);
  const base = await carriedSet("base", options);
  await fillOnce(folder, (temporary) => fetchWheels(requirements, temporary, base, server));
  return folder;
}

async function fetchWheels(requirements: string, target: string, base: string, server: ServerPython): Promise<void> {
  const words = ["download", "--quiet", "--require-hashes", "--no-deps", ...targetOptions(server)];
  const result = await runPip([...words, "--dest", target, "--requirement", requirements], {
    wheels: base,
    server,
    network: true,
  });
  if (result.code === 0) return;
  const said = result.errors.trim().split("\n").slice(-5).join("\n  ");
  throw new UserError(
    `The Python packages for the server (Python ${server.python}, ${server.platforms[0]}) cannot be fetched:\n  ${said}\n` +
      "Check the network (Python's package index), then run pulumi up again.",
  );
}
