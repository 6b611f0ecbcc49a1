/** Removes objects by the beginnings of their keys. Input `{"spaces": {...}, "prefixes": [...]}`; output `{"removed": n}`. */
import { runCommand } from "./command.ts";
import { openSpaces, removeObjects, type SpacesTarget } from "./spaces.ts";

await runCommand(async ({ spaces, prefixes }: { spaces: SpacesTarget; prefixes: readonly string[] }) => {
  return { removed: await removeObjects(openSpaces(spaces), spaces.bucket, prefixes) };
});
