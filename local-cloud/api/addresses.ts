import { isIP, isIPv4 } from "node:net";

/** An IPv4 block. */
export interface Block {
  /** First address, as a number. */
  readonly first: number;
  /** Last address, as a number. */
  readonly last: number;
  readonly prefix: number;
}

/** `198.18.0.0/24` to a block; `undefined` when it is not an IPv4 block or has bits set behind its prefix. */
export function parseBlock(cidr: string): Block | undefined {
  const [, address = "", prefixText = ""] = /^([0-9.]+)\/([0-9]{1,2})$/.exec(cidr) ?? [];
  const prefix = Number(prefixText);
  if (!isIPv4(address) || prefixText === "" || prefix > 32) return undefined;
  const size = 2 ** (32 - prefix);
  const first = toNumber(address);
  return first % size === 0 ? { first, last: first + size - 1, prefix } : undefined;
}

/** Dotted quad to number. */
export function toNumber(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

/** Number to dotted quad. */
export function toAddress(number: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(number / 2 ** shift) % 256).join(".");
}

/** The block in CIDR notation. */
export function formatBlock(block: Block): string {
  return `${toAddress(block.first)}/${block.prefix}`;
}

/** The prefix as dotted quad. */
export function netmask(prefix: number): string {
  return toAddress(2 ** 32 - 2 ** (32 - prefix));
}

/** Whether two blocks share an address. */
export function overlap(one: Block, other: Block): boolean {
  return one.first <= other.last && other.first <= one.last;
}

/** Whether all of `inner` lies in `outer`. */
export function contains(outer: Block, inner: Block): boolean {
  return outer.first <= inner.first && inner.last <= outer.last;
}

/**
 * A host address of the block that is not in `taken`; the first and last address are never given. `undefined` when all are taken.
 * @param next counts up, a call at a time, over all searches in this block: an address is not given again right after it was given back.
 */
export function freeAddress(block: Block, taken: ReadonlySet<string>, next: () => number): string | undefined {
  const hosts = block.last - block.first - 1;
  for (let tries = 0; tries < hosts; tries += 1) {
    const address = toAddress(block.first + 1 + (next() % hosts));
    if (!taken.has(address)) return address;
  }
  return undefined;
}

/** The first block of `prefix` inside `outer` that overlaps none of `taken`. */
export function freeBlock(outer: Block, prefix: number, taken: readonly Block[]): Block | undefined {
  const size = 2 ** (32 - prefix);
  for (let first = outer.first; first + size - 1 <= outer.last; first += size) {
    const block = { first, last: first + size - 1, prefix };
    if (!taken.some((other) => overlap(block, other))) return block;
  }
  return undefined;
}

/** Whether the text is an IPv4 or IPv6 address, alone or with a prefix. */
export function isAddressOrBlock(text: string): boolean {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes("%")) return false;
  return prefix === undefined || (/^[0-9]{1,3}$/.test(prefix) && Number(prefix) <= (version === 4 ? 32 : 128));
}
