import { join } from "node:path";
import { carriedSets, requirementsFile, wheelsFolder } from "../../lib/wheels.ts";
import { exists, fillFolder } from "../files.ts";
import { run } from "../run.ts";
import type { Context, Tool } from "../tool.ts";
import { findPython } from "./python.ts";

const pure = carriedSets.filter((set) => set.pure).map(({ name }) => requirementsFile(name));

/**
 * The wheels of pure Python that every server gets, because it installs nothing from the network itself: a folder
 * `<cache>/wheels/<digest>/` for each list of them. Those that depend on the server are fetched when it is known (`lib/wheels.ts`).
 */
export const wheels: Tool = {
  name: "wheels",
  version: "1",
  what: "Python packages that the server brings for its sites",
  async find(context) {
    const folders = await foldersOf(context);
    for (const folder of folders) if (!(await exists(folder))) return undefined;
    return { path: folders[0] ?? "", version: "1", source: "installed", files: folders };
  },
  async make(context, report) {
    const python = await findPython();
    const folders = await foldersOf(context);
    for (const [index, file] of pure.entries()) {
      await fillFolder(folders[index] ?? "", report, async (temporary) => {
        const options = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--no-input", "--dest", temporary];
        // All of them are pure Python: asking for no platform makes pip refuse one that is not.
        const target = ["--implementation=py", "--abi=none", "--platform=any"];
        const requirements = ["--requirement", join(context.settings.repository, file)];
        await run(python.path, ["-m", "pip", "download", ...options, ...target, ...requirements], {
          report,
          wayOut: "Check the network (Python's package index), then run the same command again.",
        });
      });
    }
  },
};

function foldersOf(context: Context): Promise<string[]> {
  return Promise.all(pure.map((file) => wheelsFolder(join(context.settings.repository, file))));
}
