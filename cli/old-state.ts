import { existsSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { pulumiHome } from "../toolchain/environment.ts";
import { say } from "../toolchain/progress.ts";

const project = "chillbox";

/** The part of a checkpoint that is read here. */
interface Checkpoint {
  readonly checkpoint?: {
    readonly latest?: { readonly secrets_providers?: { readonly state?: { readonly salt?: string } } };
  };
}

/** Stacks whose state lies in this copy of the project. */
export async function stacksHere({ repository }: LocalCloudSettings): Promise<string[]> {
  const names = await readdir(join(repository, "state/.pulumi/stacks", project)).catch(() => []);
  return names.filter((name) => name.endsWith(".json")).map((name) => basename(name, ".json"));
}

/**
 * Copies of a stack's state, in its history and backups, that are encrypted with another passphrase than the state is now:
 * `pulumi stack change-secrets-provider` leaves them, and who knows the old passphrase could still read them.
 * @returns their paths, with those of what Pulumi wrote beside them
 */
export async function oldCopies({ repository }: LocalCloudSettings, stack: string): Promise<string[]> {
  const state = join(repository, "state/.pulumi");
  const current = join(state, "stacks", project, `${stack}.json`);
  const salt = await saltOf(current);
  if (salt === undefined) return [];
  const old: string[] = [];
  for (const folder of [join(state, "history", project, stack), join(state, "backups", project, stack)]) {
    const names = (await readdir(folder).catch(() => [])).sort();
    for (const name of names.filter((each) => /\d\.(checkpoint\.)?json$/.test(each))) {
      if ((await saltOf(join(folder, name))) === salt) continue;
      const stem = name.replace(/\.(checkpoint\.)?json$/, ".");
      old.push(...names.filter((each) => each.startsWith(stem)).map((each) => join(folder, each)));
    }
  }
  const backup = `${current}.bak`;
  if (existsSync(backup) && (await saltOf(backup)) !== salt) old.push(backup, `${backup}.attrs`);
  return old;
}

/** Removes the old copies of a stack's state, and Pulumi's logs of it. */
export async function pruneState(stack: string): Promise<void> {
  const settings = localCloudSettings();
  if (!(await stacksHere(settings)).includes(stack)) {
    throw new UserError(`There is no state of stack ${stack} in ${join(settings.repository, "state")}.`);
  }
  const copies = await oldCopies(settings, stack);
  const logs = copies.length === 0 ? [] : await logsOf(settings, stack);
  for (const path of [...copies, ...logs]) await rm(path, { force: true });
  say(
    copies.length === 0
      ? `stack ${stack} has no older copy of its state under another passphrase`
      : `removed what was left of stack ${stack} under an older passphrase: ${copies.length} files of its history and backups, ${logs.length} logs`,
  );
}

async function logsOf(settings: LocalCloudSettings, stack: string): Promise<string[]> {
  const folder = join(pulumiHome(settings), "logs");
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => name.startsWith(`organization+${project}+${stack}-`)).map((name) => join(folder, name));
}

async function saltOf(file: string): Promise<string | undefined> {
  try {
    const { checkpoint } = JSON.parse(await readFile(file, "utf8")) as Checkpoint;
    return checkpoint?.latest?.secrets_providers?.state?.salt;
  } catch {
    return undefined;
  }
}
