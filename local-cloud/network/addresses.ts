/** An IPv4 block: `first` is the number of its first address, `bits` the length of its prefix. */
export interface Block {
  readonly first: number;
  readonly bits: number;
}

/** `198.18.0.1` as a number, or `undefined` when it is none. */
export function addressToNumber(text: string): number | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256)) {
    return undefined;
  }
  return parts.reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** The dotted form of an address. */
export function numberToAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

/** Number of addresses in a block. */
export function blockSize(block: Block): number {
  return 2 ** (32 - block.bits);
}

/** `198.18.0.0/18` or a single address as a block, bits below the prefix cleared; `undefined` when it is none. */
export function parseBlock(text: string): Block | undefined {
  const [address = "", length = "32", ...rest] = text.split("/");
  const value = addressToNumber(address);
  if (value === undefined || rest.length > 0 || !/^[0-9]{1,2}$/.test(length) || Number(length) > 32) {
    return undefined;
  }
  const bits = Number(length);
  return { first: value - (value % 2 ** (32 - bits)), bits };
}

/** The block in CIDR notation. */
export function formatBlock(block: Block): string {
  return `${numberToAddress(block.first)}/${block.bits}`;
}

/** The block's netmask as a dotted quad. */
export function netmaskOf(block: Block): string {
  return numberToAddress(2 ** 32 - blockSize(block));
}

/** Whether two blocks share an address. */
export function overlaps(one: Block, other: Block): boolean {
  return one.first < other.first + blockSize(other) && other.first < one.first + blockSize(one);
}

/** The block that an address with a dotted netmask lies in. */
export function blockOf(address: string, netmask: string): Block | undefined {
  const mask = addressToNumber(netmask);
  if (mask === undefined) {
    return undefined;
  }
  const bits = 32 - Math.log2(2 ** 32 - mask);
  return Number.isInteger(bits) ? parseBlock(`${address}/${bits}`) : undefined;
}
