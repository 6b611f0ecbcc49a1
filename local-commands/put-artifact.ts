/**
 * Puts a site's artifact into the bucket, once it is proven that the server can install its services. Input: see `PutArtifactInput`;
 * output `{"artifact": {sha256, size, digest}}`: of the artifact as it was put, which has wheels in it that were fetched for the server.
 */
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { packFolder, readFolder, treeDigest, unpackArchive } from "../lib/archive.ts";
import { artifactKey } from "../lib/names.ts";
import type { ServerPython } from "../lib/pip.ts";
import { type FetchedWheel, fetchedFolder, type PipService, proveWheels } from "../lib/service-wheels.ts";
import { runCommand } from "./command.ts";
import { openSpaces, putObjects, type SpacesTarget } from "./spaces.ts";

/** The artifact in its bucket. */
export interface Artifact {
  /** SHA-256 of the file in hex, and its bytes. */
  readonly sha256: string;
  readonly size: number;
  /** `treeDigest` of what is in it. */
  readonly digest: string;
}

/** Also what `remove-objects.ts` gets when the artifact's resource goes: it takes `spaces` and `prefixes`. */
export interface PutArtifactInput {
  readonly spaces: SpacesTarget;
  readonly slug: string;
  readonly version: string;
  /** As it was built, absolute path included. */
  readonly artifact: Artifact & { readonly path: string };
  /** Absent if no service of the site is installed with pip. */
  readonly python?: {
    readonly services: readonly PipService[];
    readonly server: ServerPython;
    readonly fetchWheels: boolean;
  };
  /** What to remove when the resource goes. */
  readonly prefixes: readonly string[];
}

await runCommand(async ({ spaces, slug, version, artifact, python }: PutArtifactInput) => {
  const { path, ...asBuilt } = artifact;
  const repository = join(import.meta.dirname, "..");
  const log = (line: string): void => void process.stderr.write(`${line}\n`);
  const fetched = python ? await proveWheels({ repository, slug, version, artifactPath: path, log, ...python }) : [];
  if (fetched.length === 0) return { artifact: asBuilt, sent: await put(spaces, slug, path, asBuilt) };
  const work = await mkdtemp(join(tmpdir(), "chillbox-artifact-"));
  try {
    const file = join(work, "artifact.tar.gz");
    const complete = await addWheels(path, fetched, slug, work, file);
    return { artifact: complete, sent: await put(spaces, slug, file, complete) };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
});

function put(spaces: SpacesTarget, slug: string, path: string, { sha256 }: Artifact): Promise<number> {
  return putObjects(openSpaces(spaces), spaces.bucket, [{ key: artifactKey(slug, sha256), path, acl: "private" }]);
}

/** Packs the artifact again with the wheels in their services' folders: the same wheels give the same bytes. */
async function addWheels(
  path: string,
  fetched: readonly FetchedWheel[],
  slug: string,
  work: string,
  file: string,
): Promise<Artifact> {
  const tree = join(work, "tree");
  await unpackArchive(path, tree);
  for (const wheel of fetched) {
    const folder = join(tree, wheel.service, fetchedFolder);
    await mkdir(folder, { recursive: true });
    await cp(wheel.path, join(folder, basename(wheel.path)));
  }
  const entries = await readFolder(tree);
  return { ...(await packFolder(tree, entries, file, slug)), digest: treeDigest(entries) };
}
