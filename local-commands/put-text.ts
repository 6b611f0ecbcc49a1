/** Puts a text into a bucket. Input: see `PutTextInput`; output `{"sent": n}`. */
import { runCommand } from "./command.ts";
import { openSpaces, putObjects, type SpacesTarget } from "./spaces.ts";

/** Also what `remove-objects.ts` gets when the resource goes. */
export interface PutTextInput {
  readonly spaces: SpacesTarget;
  readonly object: string;
  readonly text: string;
  readonly prefixes: readonly string[];
}

await runCommand(async ({ spaces, object, text }: PutTextInput) => {
  return { sent: await putObjects(openSpaces(spaces), spaces.bucket, [{ key: object, text, acl: "private" }]) };
});
