import { mkdir, open, rename, rm, stat, truncate } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { run, tryRun } from "../run.ts";

/**
 * Makes a droplet's disk: a sparse copy of the image, as large as the plan says.
 * @param grow gets the finished copy before it has its name.
 * @throws Error when the image is larger than the plan's disk.
 */
export async function makeDisk(
  imagePath: string,
  diskPath: string,
  diskGiB: number,
  grow: (path: string) => Promise<void> = async () => {},
): Promise<void> {
  await mkdir(dirname(diskPath), { recursive: true, mode: 0o700 });
  const temporary = `${diskPath}.new`;
  await rm(temporary, { force: true });
  await run("cp", ["--sparse=always", "--reflink=auto", imagePath, temporary]);
  const bytes = diskGiB * 1024 ** 3;
  const { size } = await stat(temporary);
  if (size > bytes) {
    await rm(temporary, { force: true });
    throw new Error(`the image is larger than the plan's disk of ${diskGiB} GiB`);
  }
  await truncate(temporary, bytes);
  await grow(temporary);
  await rename(temporary, diskPath);
}

/**
 * The same with its file system grown to fill it. The image's own way of growing needs a block device, which a droplet in namespaces
 * does not see.
 * @throws Error when the image holds no ext4 file system straight on the disk or is larger than the plan's disk.
 */
export async function makeGrownDisk(imagePath: string, diskPath: string, diskGiB: number): Promise<void> {
  await requireExt4(imagePath);
  await makeDisk(imagePath, diskPath, diskGiB, async (path) => {
    await checkDisk(path, true);
    await run("resize2fs", [path]);
  });
}

/**
 * Mends the file system as a machine does at boot (the journal is replayed, what is safe is corrected).
 * @param thorough checks it even when it is marked clean.
 */
export async function checkDisk(diskPath: string, thorough = false): Promise<void> {
  const result = await tryRun("e2fsck", [thorough ? "-fp" : "-p", diskPath]);
  if (result.code >= 4) {
    throw new Error(`the file system on ${diskPath} cannot be mended: ${result.stdout.trim()} ${result.stderr.trim()}`);
  }
}

/**
 * Waits until no file whose path starts like this is behind a loop device. They free themselves with the last mount, which takes the
 * kernel a moment after the last process; one that is left after 2 s is detached.
 */
export async function freeLoopDevices(pathStart: string): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    const devices = await loopDevices(pathStart);
    if (devices.length === 0) {
      return;
    }
    if (attempt === 100) {
      await run("losetup", ["--detach", ...devices]);
    }
    if (attempt === 200) {
      throw new Error(`${pathStart} is still mounted (${devices.join(", ")})`);
    }
    await sleep(20);
  }
}

async function loopDevices(pathStart: string): Promise<string[]> {
  const { stdout } = await tryRun("losetup", ["--list", "--json", "--output", "NAME,BACK-FILE"]);
  const list = stdout.trim() === "" ? [] : (JSON.parse(stdout) as { loopdevices: LoopDevice[] }).loopdevices;
  return list.filter((device) => device["back-file"]?.startsWith(pathStart)).map((device) => device.name);
}

interface LoopDevice {
  readonly name: string;
  readonly "back-file": string | null;
}

/** Offset and value of ext4's magic number, little endian. */
const magicOffset = 1024 + 56;
const magic = 0xef53;

async function requireExt4(imagePath: string): Promise<void> {
  const handle = await open(imagePath, "r");
  try {
    const buffer = Buffer.alloc(2);
    await handle.read(buffer, 0, 2, magicOffset);
    if (buffer.readUInt16LE() !== magic) {
      throw new Error(
        `${imagePath} has no ext4 file system straight on the disk: droplets in namespaces boot no other image`,
      );
    }
  } finally {
    await handle.close();
  }
}
