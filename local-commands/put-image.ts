/**
 * Puts the server's disk image where an import can fetch it. Input: see `PutImageInput`; output `{"at": "<when>"}`, so that who
 * removes the upload does it again after each upload.
 */
import { buildImage } from "../image/build.ts";
import { runCommand } from "./command.ts";
import { openSpaces, putObjects, type SpacesTarget } from "./spaces.ts";

/** Also what `remove-objects.ts` gets when the resource goes. */
export interface PutImageInput {
  /** `imageDigest()`: another one makes this command run again. The image itself is out of the cache by now. */
  readonly digest: string;
  readonly spaces: SpacesTarget;
  readonly key: string;
  readonly prefixes: readonly string[];
}

await runCommand(async ({ spaces, key }: PutImageInput) => {
  const { path } = await buildImage((line) => process.stderr.write(`${line}\n`));
  await putObjects(openSpaces(spaces), spaces.bucket, [{ key, path, acl: "public-read" }]);
  return { at: new Date().toISOString() };
});
