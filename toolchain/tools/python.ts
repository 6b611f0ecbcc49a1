import { UserError } from "../../lib/user-error.ts";
import { commandsNamed } from "../commands.ts";
import { run } from "../run.ts";

/** Prints the version when this Python is new enough and can make virtual environments. */
const PROBE =
  "import ensurepip, sys, venv; assert sys.version_info >= (3, 11); print('%d.%d.%d' % sys.version_info[:3])";

/**
 * The first Python on PATH that is 3.11 or newer and can make virtual environments (Debian keeps that part in python3-venv).
 * @throws UserError when there is none.
 */
export async function findPython(): Promise<{ path: string; version: string }> {
  for await (const path of commandsNamed("python3")) {
    try {
      return { path, version: await run(path, ["-c", PROBE], { timeoutMinutes: 0.5, wayOut: "" }) };
    } catch {
      // Too old, without ensurepip, or a version manager's wrapper without a Python behind it.
    }
  }
  throw new UserError(
    "Python 3.11 or newer with venv is needed: install it (Debian: apt-get install python3 python3-venv).",
  );
}
