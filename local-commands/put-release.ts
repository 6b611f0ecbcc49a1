/**
 * Puts a site's release into the buckets. Input `{"buckets": {...}, "upload": {...}}`, see `lib/upload.ts`; output
 * `{"artifact": {sha256, size, digest}, "sent": n, "by": "me@laptop"}`. Who deploys is asked here, when the release changes, and not at each
 * run: the name of a laptop may change, and that is no change of a site.
 */
import type { Buckets, Upload } from "../lib/upload.ts";
import { runCommand } from "./command.ts";
import { uploadRelease } from "./upload.ts";

await runCommand(({ buckets, upload }: { buckets: Buckets; upload: Upload }) =>
  uploadRelease(buckets, upload, (line) => void process.stderr.write(`${line}\n`)),
);
