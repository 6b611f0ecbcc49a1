import { immutablePrefix } from "./names.ts";
import type { ServerPython } from "./pip.ts";
import type { Release } from "./release.ts";
import { type PipService, pipServices } from "./service-wheels.ts";
import type { SiteFile } from "./site-file.ts";

/** Where Spaces is, and a key for it. */
export interface SpacesAccess {
  /** URL of Spaces in the region. */
  readonly endpoint: string;
  readonly region: string;
  readonly accessKey: string;
  readonly secretKey: string;
}

/** The two buckets of a stack and the key with which the laptop writes both. */
export interface Buckets extends SpacesAccess {
  readonly artifactBucket: string;
  readonly immutableBucket: string;
}

/** An artifact, as it was built or as it lies in its bucket. */
export interface Artifact {
  /** SHA-256 of the file in hex, and its bytes. */
  readonly sha256: string;
  readonly size: number;
  /** `treeDigest` of what is in it. */
  readonly digest: string;
}

/** What of a release goes into the buckets, before the server installs it. */
export interface Upload {
  readonly slug: string;
  readonly version: string;
  /** As it was built, absolute path included. */
  readonly artifact: Artifact & { readonly path: string };
  /** What the proof takes that the server can install the site's services. Absent if none of them is installed with pip. */
  readonly python?: {
    readonly services: readonly PipService[];
    readonly server: ServerPython;
    readonly fetchWheels: boolean;
  };
  /** Folders of immutable files. */
  readonly trees: readonly {
    /** Folder on the laptop. */
    readonly folder: string;
    /** Where its files go, without a trailing slash. */
    readonly prefix: string;
    /** `treeDigest` of the folder. */
    readonly digest: string;
  }[];
}

/** What `uploadRelease` and `local-commands/put-release.ts` say. */
export interface Uploaded {
  /** As it was put: it has the wheels in it that were fetched for the server. */
  readonly artifact: Artifact;
  /** How many objects were not there yet. */
  readonly sent: number;
  /** Who put them: `user@host`. */
  readonly by: string;
}

/** What goes into the buckets of a site's release for one server. */
export function uploadOf(
  site: SiteFile,
  release: Release,
  { python, fetchWheels }: { python: ServerPython; fetchWheels: boolean },
): Upload {
  const { slug } = site;
  const services = pipServices([...site.services, ...site.workers]);
  return {
    slug,
    version: release.version,
    artifact: {
      path: release.artifactPath,
      sha256: release.artifactSha256,
      size: release.artifactSize,
      digest: release.artifactDigest,
    },
    ...(services.length > 0 ? { python: { services, server: python, fetchWheels } } : {}),
    trees: release.immutable.map(({ service, hash, folder, digest }) => {
      return { folder, digest, prefix: immutablePrefix(slug, service, hash) };
    }),
  };
}

/** A release whose artifact is the one that was put. */
export function asPut(release: Release, { sha256, size, digest }: Artifact): Release {
  return { ...release, artifactSha256: sha256, artifactSize: size, artifactDigest: digest };
}
