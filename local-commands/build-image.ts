/**
 * Builds the server's disk image, or finds it in the cache. Input `{"digest": "<imageDigest()>"}`; output `{"path", "digest"}`.
 * The digest in the input is what makes this command run again; the image is always that of the files there are.
 */
import { buildImage } from "../image/build.ts";
import { runCommand } from "./command.ts";

await runCommand(async () => {
  const { path, digest } = await buildImage((line) => process.stderr.write(`${line}\n`));
  return { path, digest };
});
