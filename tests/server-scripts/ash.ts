/**
 * Prints the path of the server image's own busybox shell as a program that this machine can run: `CHILLBOX_ASH` for the shell tests.
 * Beside it lie all of busybox's applets, so that the scripts meet the `sed`, `stat` and `flock` that they will have on the server.
 * Made once for each image, in the cache.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { buildImage } from "../../image/build.ts";
import { cacheFolder } from "../../lib/cache-folder.ts";
import { rawImage } from "../image/raw-image.ts";

/** @returns the absolute path of `ash`. */
export async function imageShell(): Promise<string> {
  const image = await buildImage((line) => console.error(line));
  const folder = join(cacheFolder(), "ash", image.digest);
  if (!existsSync(folder)) await extractShell(image.path, folder);
  return join(folder, "bin", "ash");
}

async function extractShell(imagePath: string, folder: string): Promise<void> {
  mkdirSync(dirname(folder), { recursive: true });
  const work = mkdtempSync(`${folder}.`);
  try {
    const disk = await rawImage(imagePath, work);
    const made = join(work, "made");
    mkdirSync(join(made, "bin"), { recursive: true });
    const loader = `ld-musl-${execFileSync("uname", ["-m"], { encoding: "utf8" }).trim()}.so.1`;
    for (const [from, to] of [
      ["/bin/busybox", "busybox"],
      [`/lib/${loader}`, "loader"],
    ] as const) {
      execFileSync("debugfs", ["-R", `dump ${from} ${join(made, to)}`, disk], { stdio: "ignore" });
      chmodSync(join(made, to), 0o755);
    }
    const applets = execFileSync(join(made, "loader"), [join(made, "busybox"), "--list"], { encoding: "utf8" });
    for (const applet of applets.trim().split("\n")) {
      const line = `exec "${folder}/loader" --argv0 ${applet} "${folder}/busybox" "$@"`;
      writeFileSync(join(made, "bin", applet), `#!/bin/sh\n${line}\n`, { mode: 0o755 });
    }
    if (!existsSync(folder)) renameSync(made, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(await imageShell());
