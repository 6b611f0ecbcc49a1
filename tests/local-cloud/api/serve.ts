/** The API in a process of its own, for tests that kill it: `node serve.ts <folder>`. Prints its address. */
import { join } from "node:path";
import Fastify from "fastify";
import { createApi, openStore } from "../../../local-cloud/api/index.ts";
import { RecordingDriver, RecordingNetwork } from "./recording-parts.ts";
import { token } from "./support.ts";

const [folder = ""] = process.argv.slice(2);
const api = await createApi({
  store: openStore(join(folder, "api.sqlite")),
  driver: new RecordingDriver(),
  network: new RecordingNetwork(),
  imagesFolder: join(folder, "images"),
  token,
  spacesProxy: "http://127.0.0.1:9",
  log: Fastify({ logger: { level: "silent" } }).log,
});
console.log(await api.listen({ host: "127.0.0.1", port: 0 }));
