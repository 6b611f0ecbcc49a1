import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { imageDigest } from "../../image/digest.ts";
import type { ServerPython } from "../../lib/pip.ts";
import { carriedSets, carriedWheels, requirementsFile, wheelsFolder } from "../../lib/wheels.ts";
import { exists } from "../files.ts";
import type { Context, Tool } from "../tool.ts";
import { wheels } from "./wheels.ts";

/**
 * The wheels that depend on the server, for one with this image: so that what runs on this machine, tests above all, needs no network any
 * more. For any other server `configure` fetches them.
 */
export const serverWheels: Tool = {
  name: "server-wheels",
  version: "1",
  what: "Python packages for servers with this disk image",
  async find(context) {
    const server = await imagePython(context);
    if (server === undefined) return undefined;
    const files = carriedSets.filter(({ pure }) => !pure).map(({ name }) => requirementsFile(name));
    const folders = await Promise.all(
      files.map((file) => wheelsFolder(join(context.settings.repository, file), server)),
    );
    for (const folder of folders) if (!(await exists(folder))) return undefined;
    return { path: folders[0] ?? "", version: "1", source: "installed", files: folders };
  },
  async make(context, report) {
    const { buildImage } = await import("../../image/build.ts");
    await buildImage(report);
    await wheels.make(context, report);
    const server = await imagePython(context);
    if (server) await carriedWheels({ repository: context.settings.repository, server, log: report });
  },
};

/** What `chillbox-enrol` will tell of a server with this image, as far as the image's list of packages says it. */
async function imagePython(context: Context): Promise<ServerPython | undefined> {
  const path = join(context.cache, "image", imageDigest(), "manifest.json");
  const text = await readFile(path, "utf8").catch(() => undefined);
  return text === undefined ? undefined : pythonOf(JSON.parse(text));
}

/** @param manifest an image's, whose `packages` are named as `name-version-rN` */
export function pythonOf({ packages }: { readonly packages: readonly string[] }): ServerPython | undefined {
  const minorOf = (name: string, major: string): number =>
    Number(packages.map((each) => new RegExp(`^${name}-${major}\\.(\\d+)\\b`).exec(each)?.[1]).find(Boolean));
  const [python, glibc, musl] = [minorOf("python3", "3"), minorOf("glibc-libs", "2"), minorOf("musl", "1")];
  if (Number.isNaN(python)) return undefined;
  const machine = "x86_64";
  const down = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, index) => from - index);
  const platforms = Number.isNaN(glibc)
    ? down(musl, 1).map((minor) => `musllinux_1_${minor}_${machine}`)
    : [...down(glibc, 5).map((minor) => `manylinux_2_${minor}_${machine}`), `manylinux2014_${machine}`];
  return { python: `3.${python}`, platforms };
}
