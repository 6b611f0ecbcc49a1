import { UserError } from "../../lib/user-error.ts";
import { blockSize, formatBlock, netmaskOf, numberToAddress, parseBlock } from "./addresses.ts";

/** How one copy's address range is divided. */
export interface AddressPlan {
  /** The whole range, CIDR: the laptop's one route. */
  readonly range: string;
  readonly publicBlock: { readonly cidr: string; readonly netmask: string; readonly gateway: string };
  readonly vpcBlock: string;
  /** The laptop's end of the link to the router. */
  readonly hostAddress: string;
  readonly routerAddress: string;
}

/**
 * First quarter: droplets' public and reserved addresses, the first of them the gateway. Last /30 of the second quarter: the link
 * between laptop and router. Upper half: VPCs.
 * @throws UserError when the range is no IPv4 block of /8 to /20.
 */
export function addressPlan(addressRange: string): AddressPlan {
  const range = parseBlock(addressRange);
  if (!range || range.bits < 8 || range.bits > 20 || formatBlock(range) !== addressRange) {
    throw new UserError(
      `CHILLBOX_ADDRESS_RANGE is "${addressRange}": give an IPv4 block between /8 and /20 that starts at its own first address, like 198.18.0.0/18.`,
    );
  }
  const quarter = { first: range.first, bits: range.bits + 2 };
  const middle = range.first + blockSize(range) / 2;
  return {
    range: addressRange,
    publicBlock: {
      cidr: formatBlock(quarter),
      netmask: netmaskOf(quarter),
      gateway: numberToAddress(quarter.first + 1),
    },
    vpcBlock: formatBlock({ first: middle, bits: range.bits + 1 }),
    hostAddress: numberToAddress(middle - 3),
    routerAddress: numberToAddress(middle - 2),
  };
}
