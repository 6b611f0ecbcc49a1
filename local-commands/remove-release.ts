/** Removes what was ever put for a site, when it goes. Input: that of `put-release.ts`; output `{"removed": n}`. */
import type { Buckets, Upload } from "../lib/upload.ts";
import { runCommand } from "./command.ts";
import { removeUploads } from "./upload.ts";

await runCommand(async ({ buckets, upload }: { buckets: Buckets; upload: Upload }) => {
  return { removed: await removeUploads(buckets, upload.slug) };
});
