import { join } from "node:path";
import { wheelsFolder } from "../../lib/wheels.ts";
import { exists, fillFolder } from "../files.ts";
import { run } from "../run.ts";
import type { Context, Tool } from "../tool.ts";
import { findPython } from "./python.ts";

const requirements = "server-scripts/python/requirements.txt";

/** The wheels that every server gets, because it installs nothing from the network itself: a folder `<cache>/wheels/<digest>/`. */
export const wheels: Tool = {
  name: "wheels",
  version: "1",
  what: "Python packages that the server brings for its sites",
  async find(context) {
    const folder = await folderOf(context);
    return (await exists(folder)) ? { path: folder, version: "1", source: "installed" } : undefined;
  },
  async make(context, report) {
    const python = await findPython();
    await fillFolder(await folderOf(context), report, async (temporary) => {
      const file = join(context.settings.repository, requirements);
      const options = ["--require-hashes", "--only-binary=:all:", "--no-deps", "--no-input", "--dest", temporary];
      // All of them are pure Python: asking for no platform makes pip refuse one that is not.
      const target = ["--implementation=py", "--abi=none", "--platform=any"];
      await run(python.path, ["-m", "pip", "download", ...options, ...target, "--requirement", file], {
        report,
        wayOut: "Check the network (Python's package index), then run the same command again.",
      });
    });
  },
};

function folderOf(context: Context): Promise<string> {
  return wheelsFolder(join(context.settings.repository, requirements));
}
