import { unprocessable } from "./errors.ts";
import type { components } from "./openapi.d.ts";

export type Region = components["schemas"]["region"];
export type Size = components["schemas"]["size"];

/** Slug, memory in MB, CPUs, disk in GB, transfer in TB, USD a month, USD an hour: DigitalOcean's basic plans. */
const plans: readonly (readonly [string, number, number, number, number, number, number])[] = [
  ["s-1vcpu-512mb-10gb", 512, 1, 10, 0.5, 4, 0.00595],
  ["s-1vcpu-1gb", 1024, 1, 25, 1, 6, 0.00893],
  ["s-1vcpu-2gb", 2048, 1, 50, 2, 12, 0.01786],
  ["s-2vcpu-2gb", 2048, 2, 60, 3, 18, 0.02679],
  ["s-2vcpu-4gb", 4096, 2, 80, 4, 24, 0.03571],
  ["s-4vcpu-8gb", 8192, 4, 160, 5, 48, 0.07143],
];

const places: Readonly<Record<string, string>> = {
  ams3: "Amsterdam 3",
  atl1: "Atlanta 1",
  blr1: "Bangalore 1",
  fra1: "Frankfurt 1",
  lon1: "London 1",
  nyc1: "New York 1",
  nyc2: "New York 2",
  nyc3: "New York 3",
  sfo2: "San Francisco 2",
  sfo3: "San Francisco 3",
  sgp1: "Singapore 1",
  syd1: "Sydney 1",
  tor1: "Toronto 1",
};

/** All regions. Real plans are not to be had in every region; here they are, as the list changes often. */
export const regions: readonly Region[] = Object.entries(places).map(([slug, name]) => ({
  name,
  slug,
  features: ["backups", "ipv6", "metadata", "install_agent", "storage", "image_transfer"],
  available: true,
  sizes: plans.map(([size]) => size),
}));

/** All plans. */
export const sizes: readonly Size[] = plans.map(([slug, memory, vcpus, disk, transfer, monthly, hourly]) => ({
  slug,
  memory,
  vcpus,
  disk,
  transfer,
  price_monthly: monthly,
  price_hourly: hourly,
  regions: Object.keys(places),
  available: true,
  description: "Basic",
  disk_info: [{ type: "local", size: { amount: disk, unit: "gib" } }],
}));

/** @throws ApiError 422 for an unknown slug. */
export function findRegion(slug: unknown): Region {
  const region = regions.find((one) => one.slug === slug);
  if (region === undefined) throw unprocessable("Region is not available");
  return region;
}

/** @throws ApiError 422 for an unknown slug. */
export function findSize(slug: unknown): Size {
  const size = sizes.find((one) => one.slug === slug);
  if (size === undefined) throw unprocessable("You specified an invalid size for Droplet creation.");
  return size;
}
