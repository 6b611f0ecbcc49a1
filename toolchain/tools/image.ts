import { join } from "node:path";
import { imageDigest } from "../../image/digest.ts";
import { exists } from "../files.ts";
import type { Tool } from "../tool.ts";

const version = "alpine-3.23";

/** The disk image of the servers, built once and kept in the cache by the digest of what it is made from. */
export const image: Tool = {
  name: "image",
  version,
  what: "disk image of the server; built in about a minute",
  async find(context) {
    const path = join(context.cache, "image", imageDigest(), "alpine.qcow2.gz");
    return (await exists(path)) ? { path, version, source: "built" } : undefined;
  },
  async make(_, report) {
    const { buildImage } = await import("../../image/build.ts");
    await buildImage(report);
  },
};
