/** Puts one file into a bucket. Input: see `PutObjectInput`; output `{"sent": 0 | 1}`. */
import { runCommand } from "./command.ts";
import { openSpaces, putObjects, type SpacesTarget, type StoredObject } from "./spaces.ts";

/** Also what `remove-objects.ts` gets when the file's resource goes: it takes `spaces` and `prefixes`. */
export interface PutObjectInput {
  readonly spaces: SpacesTarget;
  readonly object: StoredObject;
  /** What to remove when the resource goes. */
  readonly prefixes: readonly string[];
}

await runCommand(async ({ spaces, object }: PutObjectInput) => {
  return { sent: await putObjects(openSpaces(spaces), spaces.bucket, [object]) };
});
