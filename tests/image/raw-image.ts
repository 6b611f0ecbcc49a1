import { execFileSync } from "node:child_process";
import { createReadStream, createWriteStream, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";

/** Unpacks an image (qcow2.gz) to `disk.raw` in the folder; answers its path. */
export async function rawImage(imagePath: string, folder: string): Promise<string> {
  const packed = join(folder, "image.qcow2");
  const disk = join(folder, "disk.raw");
  await pipeline(createReadStream(imagePath), createGunzip(), createWriteStream(packed));
  execFileSync("qemu-img", ["convert", "-O", "raw", packed, disk]);
  rmSync(packed);
  return disk;
}
