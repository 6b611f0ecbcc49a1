/** The parts of the API that the rest of the local cloud uses. */
export { type ApiDependencies, createApi } from "./server.ts";
export { ensureOwnerKey, makeSpacesKeys, newAccessKey, newSecretKey } from "./spaces-keys.ts";
export { openStore, type Store } from "./store.ts";
export { makeZones } from "./zones.ts";
