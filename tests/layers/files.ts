import { existsSync } from "node:fs";
import { join } from "node:path";
import { execa } from "execa";

/** Paths of the project's own files, relative to the repository: what git tracks or would track, as far as it is there. */
export async function projectFiles(repository: string): Promise<string[]> {
  const { stdout } = await execa("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: repository,
  });
  const files = stdout.split("\0").filter((file) => file !== "" && existsSync(join(repository, file)));
  return [...new Set(files)].sort();
}
