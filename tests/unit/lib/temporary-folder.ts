import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after } from "node:test";

/** A new folder for the tests of one file, removed after them. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "chillbox-unit-"));
  after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}
