import { createHash } from "node:crypto";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { exists, writeIfChanged } from "../files.ts";
import { withLock } from "../lock.ts";
import { run } from "../run.ts";
import type { Context, FoundTool, Report, Tool } from "../tool.ts";
import { findPython } from "./python.ts";

/** A Python program in a virtual environment of its own, every package pinned by its hash. */
export interface PythonEnvironment {
  readonly name: string;
  readonly version: string;
  readonly what: string;
  /** Locked requirements, relative to the repository. */
  readonly requirements: string;
  /** A program in the environment that shows it is there. */
  readonly program: string;
}

/**
 * The tool that makes such an environment under `<cache>/<name>/<version>-<digest of the requirements>/`.
 * It cannot be renamed into place, because its programs hold its path; a marker written last says that it is complete.
 */
export function pythonEnvironment(environment: PythonEnvironment): Tool {
  const { name, version, what } = environment;
  return {
    name,
    version,
    what,
    find: (context) => find(environment, context),
    make: (context, report) => make(environment, context, report),
  };
}

async function find(environment: PythonEnvironment, context: Context): Promise<FoundTool | undefined> {
  const folder = await folderOf(environment, context);
  const program = join(folder, "bin", environment.program);
  const python = join(folder, "bin/python3");
  // The Python that it was made with may have been removed from the machine: then its link leads nowhere.
  if (!(await exists(markerOf(folder))) || !(await exists(program)) || !(await exists(python))) return undefined;
  return { path: program, version: environment.version, source: "installed", files: [program, python] };
}

async function make(environment: PythonEnvironment, context: Context, report: Report): Promise<void> {
  const python = await findPython();
  const folder = await folderOf(environment, context);
  await withLock(`${folder}.lock`, report, async () => {
    if (await find(environment, context)) return;
    await rm(folder, { recursive: true, force: true });
    await run(python.path, ["-m", "venv", folder], {
      wayOut: "Check that python3-venv is installed and the disk has room.",
    });
    const requirements = join(context.settings.repository, environment.requirements);
    await run(
      join(folder, "bin/python3"),
      ["-m", "pip", "install", "--require-hashes", "--only-binary=:all:", "--no-input", "--requirement", requirements],
      { report, wayOut: "Check the network (Python's package index), then run the same command again." },
    );
    await writeIfChanged(markerOf(folder), `${python.version}\n`, 0o644);
  });
}

function markerOf(folder: string): string {
  return join(folder, ".complete");
}

async function folderOf(environment: PythonEnvironment, context: Context): Promise<string> {
  const requirements = await readFile(join(context.settings.repository, environment.requirements));
  const digest = createHash("sha256").update(requirements).digest("hex").slice(0, 12);
  return join(context.cache, environment.name, `${environment.version}-${digest}`);
}
