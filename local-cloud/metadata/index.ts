/** The droplet metadata service. */
export { createMetadata, type MetadataDependencies } from "./server.ts";
