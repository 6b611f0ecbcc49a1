/** The largest disk an image may hold. */
export const maxImageBytes = 100 * 1024 ** 3;

/** Bytes from a file's beginning that tell what it is. */
export const headBytes = 34816;

const sectorBytes = 512;

/** What an image's file turned out to be: `refused` with a sentence for the person who sent it. */
export type DiskImage = { readonly format: "raw" | "qcow2" } | { readonly refused: string };

/**
 * Tells raw from qcow2 by what is in the file, and refuses all else: other formats, qcow2 files that refer to other files (opening
 * them would read files of this machine), and what is no disk at all, such as the page of an error.
 * @param head the file's first `headBytes` bytes, or all of it.
 */
export function recognise(head: Buffer): DiskImage {
  if (startsWith(head, "QFI\xfb")) return checkQcow2(head);
  const other = otherFormats.find(([magic, , offset = 0]) => startsWith(head.subarray(offset), magic));
  if (other !== undefined) return { refused: `${other[1]} images cannot be imported here: use raw or qcow2.` };
  if (!looksLikeDisk(head)) return { refused: "The file is not a raw or qcow2 disk image." };
  return { format: "raw" };
}

const otherFormats: readonly (readonly [string, string, number?])[] = [
  ["KDMV", "VMDK"],
  ["# Disk DescriptorFile", "VMDK"],
  ["vhdxfile", "VHDX"],
  ["conectix", "VHD"],
  ["\x7f\x10\xda\xbe", "VDI", 64],
  ["QED\0", "QED"],
  ["\xfd7zXZ\0", "xz-compressed"],
  ["\x28\xb5\x2f\xfd", "zstd-compressed"],
  ["\x1f\x8b", "Twice gzip-compressed"],
  ["PK\x03\x04", "Zip-compressed"],
  ["CD001", "ISO", 32769],
];

/** A boot sector, a GPT, or an ext file system without partitions. */
function looksLikeDisk(head: Buffer): boolean {
  const isBootSector = head.length >= sectorBytes && head.readUInt16BE(510) === 0x55aa;
  const isGpt = startsWith(head.subarray(sectorBytes), "EFI PART");
  const isExt = head.length >= 1084 && head.readUInt16LE(1080) === 0xef53;
  return isBootSector || isGpt || isExt;
}

function checkQcow2(head: Buffer): DiskImage {
  if (head.length < 104) return { refused: "The qcow2 image is cut off." };
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) return { refused: `qcow2 version ${version} is not supported.` };
  if (head.readBigUInt64BE(8) !== 0n) return { refused: "The qcow2 image has a backing file: flatten it first." };
  if (head.readUInt32BE(32) !== 0) return { refused: "The qcow2 image is encrypted." };
  const features = version === 3 ? head.readBigUInt64BE(72) : 0n;
  // Bit 1: damaged. Bit 2: the data lie in another file. Bits 5 and up: made by something newer than this.
  if ((features & 0b10n) !== 0n) return { refused: "The qcow2 image is marked as damaged." };
  if ((features & 0b100n) !== 0n) return { refused: "The qcow2 image keeps its data in another file." };
  if (features >> 5n !== 0n) return { refused: "The qcow2 image uses features that are not known." };
  if (head.readBigUInt64BE(24) > BigInt(maxImageBytes)) return { refused: "The image is larger than 100 GB." };
  return { format: "qcow2" };
}

function startsWith(bytes: Buffer, magic: string): boolean {
  return bytes.subarray(0, magic.length).equals(Buffer.from(magic, "latin1"));
}
