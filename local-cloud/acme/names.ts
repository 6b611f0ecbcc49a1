/** The name by which droplets reach the ACME server of the local cloud, and its directory. */
export const acmeName = "acme.test";
export const acmeDirectory = `https://${acmeName}/dir`;
