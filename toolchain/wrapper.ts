import { randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { binFolder, passphraseFile, pulumiEnvironment, shellQuote, toolFolders } from "./environment.ts";
import { readIfThere, writeIfChanged } from "./files.ts";
import type { Tools } from "./tool.ts";

const MARK = "# Made by chillbox's set-up";

/** Whether a program is such a wrapper, of this copy of the project or another. */
export async function isWrapper(path: string): Promise<boolean> {
  const { size } = await stat(path);
  return size < 10_000 && (await readFile(path, "utf8")).includes(MARK);
}

/**
 * Writes `<home>/bin/pulumi`, which runs the real Pulumi with the plugins and tools of this copy of the project, also for a person who
 * calls it by its path. Stack `local`'s passphrase is not in it: another stack must never be encrypted with that by accident.
 */
export async function writeWrapper(settings: LocalCloudSettings, tools: Tools): Promise<void> {
  const pulumi = tools.pulumi;
  if (!pulumi) return;
  const exports = Object.entries(pulumiEnvironment(settings)).map(
    ([name, value]) => `export ${name}=${shellQuote(value)}`,
  );
  const lines = [
    "#!/bin/sh",
    `${MARK}: Pulumi with the plugins and tools of this copy of the project.`,
    ...exports,
    `export PATH=${shellQuote(toolFolders(settings, tools).join(":"))}:"$PATH"`,
    ...removeDeadLocks(settings),
    "# State and logs are for their owner alone.",
    "umask 077",
    `exec ${shellQuote(pulumi.path)} "$@"`,
    "",
  ];
  await writeIfChanged(join(binFolder(settings), "pulumi"), lines.join("\n"), 0o755);
}

/** The same as `removeDeadLocks` of cli/state-locks.ts, for every stack of this copy; locks of the living are Pulumi's to tell of. */
function removeDeadLocks({ repository }: LocalCloudSettings): string[] {
  return [
    "# Pulumi's locks on its state never expire. Those of processes that are no more on this host go.",
    `for lock in ${shellQuote(repository)}/state/.pulumi/locks/organization/chillbox/*/*.json; do`,
    `  grep -qs '"hostname":"'"$(uname -n)"'"' "$lock" || continue`,
    `  pid=$(sed -n 's/.*"pid":\\([0-9]*\\).*/\\1/p' "$lock")`,
    `  grep -qs '(pulumi) [^ZX]' "/proc/$pid/stat" || rm -f "$lock"`,
    "done",
  ];
}

/** Makes the passphrase of stack `local`, once: 32 random bytes that only the owner can read. */
export async function makePassphrase(settings: LocalCloudSettings): Promise<void> {
  const file = passphraseFile(settings);
  if (await readIfThere(file)) return;
  await writeIfChanged(file, `${randomBytes(32).toString("base64url")}\n`, 0o600);
}
