import { existsSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { closeFolder } from "../lib/close-folder.ts";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { checkPassphraseFile, explainPassphrase } from "../lib/passphrase.ts";
import { UserError } from "../lib/user-error.ts";
import { passphraseFile, pathWithTools, pulumiEnvironment } from "../toolchain/environment.ts";
import type { Tools } from "../toolchain/tool.ts";

/** Stack of the local cloud. */
export const stack = "local";

/** Pulumi, set up for stack `local` of this copy. */
export interface Pulumi {
  readonly settings: LocalCloudSettings;
  readonly path: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** Prepares Pulumi's environment; of the person's own, nothing that concerns Pulumi gets in. */
export function preparePulumi(settings: LocalCloudSettings, tools: Tools): Pulumi {
  const own = Object.entries(process.env).filter(([name, value]) => !name.startsWith("PULUMI_") && value !== undefined);
  return {
    settings,
    path: tools.pulumi?.path ?? "pulumi",
    environment: {
      ...(Object.fromEntries(own) as Record<string, string>),
      ...pulumiEnvironment(settings),
      PATH: pathWithTools(settings, tools),
      PULUMI_CONFIG_PASSPHRASE_FILE: passphraseFile(settings),
    },
  };
}

/** Where Pulumi keeps the state of a stack, with the backend that Pulumi.yaml names. */
export function stateFile(settings: LocalCloudSettings, name = stack): string {
  return join(settings.repository, "state/.pulumi/stacks/chillbox", `${name}.json`);
}

/** Whether stack `local` exists: whether its state is there. */
export function stackExists(settings: LocalCloudSettings): boolean {
  return existsSync(stateFile(settings));
}

/** Whether the state of stack `local` tells of nothing that could be removed; a state that cannot be read is Pulumi's to judge. */
export function stackIsEmpty(settings: LocalCloudSettings): boolean {
  if (!stackExists(settings)) return true;
  try {
    const { checkpoint } = JSON.parse(readFileSync(stateFile(settings), "utf8")) as State;
    const { resources = [], pending_operations: pending = [] } = checkpoint.latest ?? {};
    return resources.length + pending.length === 0;
  } catch {
    return false;
  }
}

/** Removes the state of stack `local`, whatever it tells of, and Pulumi's copies of it. */
export async function removeState(settings: LocalCloudSettings): Promise<void> {
  const file = stateFile(settings);
  const names = await readdir(dirname(file)).catch(() => []);
  // `local.json`, and beside it `local.json.bak` and `local.json.attrs`.
  for (const name of names.filter((each) => each.startsWith(basename(file)))) {
    await rm(join(dirname(file), name), { force: true });
  }
}

/**
 * @throws UserError when stack `local` exists and the passphrase that its state is encrypted with does not, because a new one would not
 * open it; when the file that holds it is empty, somebody else's or open to others
 */
export function checkPassphrase(settings: LocalCloudSettings): void {
  const file = passphraseFile(settings);
  if (existsSync(file)) checkPassphraseFile(file);
  else if (stackExists(settings)) throw goneWithPassphrase(file);
}

function goneWithPassphrase(file: string): UserError {
  return new UserError(
    [
      `Stack ${stack} was encrypted with a passphrase that is gone: ${file}. The local cloud that it tells of went with it.`,
      "Remove what is left of the stack, then run the same command again:",
      "  npm run down -- --force",
    ].join("\n"),
  );
}

/** The part of Pulumi's state that is read here. */
interface State {
  readonly checkpoint: {
    readonly latest?: { readonly resources?: readonly unknown[]; readonly pending_operations?: readonly unknown[] };
  };
}

/**
 * Runs Pulumi with its output where the person sees it, and waits for its end also when the person presses ^C: it then finishes what it
 * is doing and writes its state.
 * @throws UserError when it fails; it has said why by then.
 */
export async function runPulumi(pulumi: Pulumi, args: readonly string[], wayOut: string): Promise<void> {
  const { execa } = await import("execa");
  const child = privately(pulumi.settings, () =>
    execa(pulumi.path, args, {
      cwd: pulumi.settings.repository,
      env: pulumi.environment,
      extendEnv: false,
      stdio: "inherit",
      reject: false,
    }),
  );
  const wait = () => {};
  // The terminal sends ^C to Pulumi as well; a kill is for us alone and passed on.
  const passOn = () => child.kill("SIGINT");
  process.on("SIGINT", wait).on("SIGTERM", passOn).on("SIGHUP", passOn);
  const result = await child;
  process.off("SIGINT", wait).off("SIGTERM", passOn).off("SIGHUP", passOn);
  if (!result.failed) return;
  // What it said is on the screen alone. A passphrase that does not fit comes before all else, so it is asked for once more.
  await askPulumi(pulumi, ["config", "get", "apiToken", "--stack", stack, "--non-interactive"]).catch(
    (error: unknown) => {
      if (error instanceof PassphraseError) throw error;
    },
  );
  throw new UserError(`\`pulumi ${args.join(" ")}\` failed. ${wayOut}`);
}

/** Pulumi could not open the stack's secrets. */
class PassphraseError extends UserError {}

/**
 * Runs a short Pulumi command quietly.
 * @param input its standard input: the place for secrets
 * @throws UserError with what it said when it fails
 */
export async function askPulumi(pulumi: Pulumi, args: readonly string[], input?: string): Promise<string> {
  const { execa } = await import("execa");
  const result = await privately(pulumi.settings, () =>
    execa(pulumi.path, args, {
      cwd: pulumi.settings.repository,
      env: pulumi.environment,
      extendEnv: false,
      reject: false,
      timeout: 120_000,
      all: true,
      ...(input === undefined ? { stdin: "ignore" as const } : { input }),
    }),
  );
  if (!result.failed) return result.stdout;
  const name = args[args.indexOf("--stack") + 1] ?? stack;
  const said = result.all ?? result.shortMessage;
  const way = explainPassphrase(said, name, pulumi.environment);
  if (way !== undefined) throw new PassphraseError(way);
  throw new UserError(`\`pulumi ${args.join(" ")}\` failed:\n${said}`);
}

/** Starts something whose files only this user may open: Pulumi with its state and its logs. */
function privately<T>({ repository }: LocalCloudSettings, start: () => T): T {
  closeFolder(join(repository, "state"));
  const before = process.umask(0o077);
  try {
    return start();
  } finally {
    process.umask(before);
  }
}
