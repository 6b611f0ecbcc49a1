import { join } from "node:path";
import { UserError } from "../../lib/user-error.ts";
import { commandsNamed, findCommand, isProgram } from "../commands.ts";
import { fillFolder } from "../files.ts";
import { run } from "../run.ts";
import type { Context, FoundTool, Report } from "../tool.ts";
import { isWrapper } from "../wrapper.ts";

/** A program that is built from its published Go module, whose go.mod and go.sum stand in a folder here. */
export interface GoProgram {
  readonly name: string;
  /** Without a leading `v`. */
  readonly version: string;
  /** Folder of go.mod and go.sum, relative to the repository. */
  readonly module: string;
  /** Import path of its main package. */
  readonly package: string;
  readonly flags: readonly string[];
  /** Arguments with which a program on PATH tells its version. */
  readonly versionArguments: readonly string[];
}

/** Looks for the program in this version: on PATH first, then in the cache. */
export async function findGoProgram(program: GoProgram, context: Context): Promise<FoundTool | undefined> {
  const { version } = program;
  const onPath = await findOnPath(program, context);
  if (onPath) return { path: onPath, version, source: "path" };
  const built = join(folderOf(program, context), program.name);
  return (await isProgram(built)) ? { path: built, version, source: "built" } : undefined;
}

/** Leaves out what chillbox itself put on a person's PATH: the cache, and the wrapper of this or another copy of the project. */
async function findOnPath(program: GoProgram, context: Context): Promise<string | undefined> {
  for await (const path of commandsNamed(program.name)) {
    if (path.startsWith(`${context.cache}/`) || (await isWrapper(path))) continue;
    return (await hasVersion(path, program)) ? path : undefined;
  }
  return undefined;
}

async function hasVersion(path: string, program: GoProgram): Promise<boolean> {
  try {
    const text = await run(path, program.versionArguments, { timeoutMinutes: 0.1, wayOut: "" });
    return new RegExp(`\\bv?${program.version.replaceAll(".", "\\.")}(?![\\w.+-])`).test(text);
  } catch {
    return false;
  }
}

/**
 * Builds the program into the cache. go.sum pins every module; an official archive is not taken, because no digest of one is known here.
 * @throws UserError when Go is missing, too old, or the build fails.
 */
export async function buildGoProgram(program: GoProgram, context: Context, report: Report): Promise<void> {
  await requireGo();
  const module = join(context.settings.repository, program.module);
  await fillFolder(folderOf(program, context), report, async (temporary) => {
    const output = join(temporary, program.name);
    await run("go", ["build", "-v", "-trimpath", ...program.flags, "-o", output, program.package], {
      cwd: module,
      env: { CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOFLAGS: "-mod=readonly -buildvcs=false", GOWORK: "off" },
      report,
      wayOut: `Check the network (Go's module proxy) and the disk, then run the same command again; or put ${program.name} ${program.version} on PATH.`,
    });
  });
}

async function requireGo(): Promise<void> {
  const text = (await findCommand("go"))
    ? await run("go", ["env", "GOVERSION"], { env: { GOTOOLCHAIN: "local" }, wayOut: "Mend the Go installation." })
    : undefined;
  const [major = 0, minor = 0] = (text?.replace(/^go/, "") ?? "").split(".").map(Number);
  if (text === undefined || (major === 1 && minor < 26)) {
    throw new UserError(
      `Go 1.26 or newer is needed to build tools, and ${text ? `this one is ${text}` : "there is no `go` on PATH"}: install it (https://go.dev/doc/install) and run the same command again.`,
    );
  }
}

function folderOf(program: GoProgram, context: Context): string {
  return join(context.cache, program.name, program.version);
}
