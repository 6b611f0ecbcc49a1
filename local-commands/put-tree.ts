/** Puts the immutable files of a release into a bucket, and the mark that they are all there last. Output `{"sent": n}`. */
import { join } from "node:path";
import { readFolder } from "../lib/archive.ts";
import { runCommand } from "./command.ts";
import { openSpaces, putContent, putObjects, type SpacesTarget } from "./spaces.ts";

/** Also what `remove-objects.ts` gets when the site's resource goes. */
export interface PutTreeInput {
  readonly spaces: SpacesTarget;
  readonly trees: readonly {
    /** Folder on the laptop. */
    readonly folder: string;
    /** Where its files go, without a trailing slash. */
    readonly prefix: string;
    /** `treeDigest` of the folder: a change of it is what makes this command run again. */
    readonly digest: string;
  }[];
  readonly marker: { readonly key: string; readonly text: string };
  readonly prefixes: readonly string[];
}

const immutable = "public, max-age=31536000, immutable";

await runCommand(async ({ spaces, trees, marker }: PutTreeInput) => {
  const client = openSpaces(spaces);
  const objects = [];
  for (const { folder, prefix } of trees) {
    const files = (await readFolder(folder)).filter((entry) => entry.kind === "file");
    objects.push(
      ...files.map(({ path }) => ({
        key: `${prefix}/${path}`,
        path: join(folder, path),
        acl: "public-read" as const,
        cacheControl: immutable,
      })),
    );
  }
  const sent = await putObjects(client, spaces.bucket, objects);
  await putContent(client, spaces.bucket, marker.key, Buffer.from(marker.text));
  return { sent };
});
