import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir, userInfo } from "node:os";
import { basename, join } from "node:path";
import type { S3Client } from "@aws-sdk/client-s3";
import { packFolder, readFolder, treeDigest, unpackArchive } from "../lib/archive.ts";
import { artifactKey, versionMarkerKey } from "../lib/names.ts";
import { type FetchedWheel, fetchedFolder, proveWheels } from "../lib/service-wheels.ts";
import type { Artifact, Buckets, Upload, Uploaded } from "../lib/upload.ts";
import { greetBucket, openSpaces, putObjects, removeObjects, type StoredObject } from "./spaces.ts";

const forEver = "public, max-age=31536000, immutable";

/**
 * Puts a release into the buckets: the artifact, once it is proven that the server can install its services, then the immutable files, and
 * last the mark that they are all there. What lies there already is not sent again.
 * @param log told what takes a while
 * @param client for the buckets, if there is one already: see `reachBuckets`
 * @throws UserError when a package is missing, or Spaces refuses
 */
export async function uploadRelease(
  buckets: Buckets,
  upload: Upload,
  log: (line: string) => void,
  client = openSpaces(buckets),
): Promise<Uploaded> {
  const { slug, version, artifact, python } = upload;
  const { path, ...asBuilt } = artifact;
  const repository = join(import.meta.dirname, "..");
  const fetched = python ? await proveWheels({ repository, slug, version, artifactPath: path, log, ...python }) : [];
  if (fetched.length === 0) return put(client, buckets, upload, path, asBuilt);
  const work = await mkdtemp(join(tmpdir(), "chillbox-artifact-"));
  try {
    const file = join(work, "artifact.tar.gz");
    const complete = await addWheels(path, fetched, slug, work, file);
    return await put(client, buckets, upload, file, complete);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** A client for the buckets, which opens its connections while there is nothing to put yet. */
export function reachBuckets(buckets: Buckets): S3Client {
  const client = openSpaces(buckets);
  for (const bucket of [buckets.artifactBucket, buckets.immutableBucket]) void greetBucket(client, bucket);
  return client;
}

/** Removes all that was ever put for a site. */
export async function removeUploads(buckets: Buckets, slug: string): Promise<number> {
  const { artifactBucket, immutableBucket } = buckets;
  const client = openSpaces(buckets);
  const artifacts = await removeObjects(client, artifactBucket, [`sites/${slug}/`]);
  return artifacts + (await removeObjects(client, immutableBucket, [`${slug}/`]));
}

async function put(
  client: S3Client,
  { artifactBucket, immutableBucket }: Buckets,
  upload: Upload,
  path: string,
  artifact: Artifact,
): Promise<Uploaded> {
  const { slug, version } = upload;
  const marker = { key: versionMarkerKey(slug, version), text: `${version}\n`, acl: "private" as const };
  const putImmutable = async () => putObjects(client, immutableBucket, await immutableObjects(upload), [marker]);
  const key = artifactKey(slug, artifact.sha256);
  const sent = await Promise.all([putObjects(client, artifactBucket, [{ key, path, acl: "private" }]), putImmutable()]);
  return { artifact, sent: sent[0] + sent[1], by: `${userName()}@${hostname()}` };
}

async function immutableObjects({ trees }: Upload): Promise<StoredObject[]> {
  const objects: StoredObject[] = [];
  for (const { folder, prefix } of trees) {
    for (const { kind, path } of await readFolder(folder)) {
      if (kind !== "file") continue;
      objects.push({
        key: `${prefix}/${path}`,
        path: join(folder, path),
        acl: "public-read",
        cacheControl: forEver,
      });
    }
  }
  return objects;
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

/** A number may have no name, such as in a container. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}
