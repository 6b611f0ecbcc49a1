import { readFileSync, type Stats, statSync } from "node:fs";
import { UserError } from "./user-error.ts";

/**
 * Looks whether a stack's passphrase is where nobody else reads it: in a file of this user alone. Pulumi itself takes any.
 * @param environment `PULUMI_CONFIG_PASSPHRASE_FILE` names the file; without it Pulumi asks at the terminal
 * @throws UserError when `PULUMI_CONFIG_PASSPHRASE` is set, or the file is missing, empty, somebody else's or open to others
 */
export function checkPassphraseSource(environment: NodeJS.ProcessEnv, stack: string): void {
  // Set to nothing it counts as well, and wins over the file.
  if (environment.PULUMI_CONFIG_PASSPHRASE !== undefined) throw new UserError(openPassphrase(stack));
  const file = environment.PULUMI_CONFIG_PASSPHRASE_FILE;
  if (file) checkPassphraseFile(file);
}

/** @throws UserError when the file is missing, empty, somebody else's or open to others */
export function checkPassphraseFile(file: string): void {
  const info = statSync(file, { throwIfNoEntry: false });
  if (!info?.isFile()) throw new UserError(`${file} is not there: it should hold the stack's passphrase.`);
  const problem = fileProblem(file, info);
  if (problem) throw new UserError(problem);
  if (readFileSync(file, "utf8").trim() === "") {
    throw new UserError(
      `${file} is empty: it should hold the stack's passphrase. Bring it back from where you keep a copy.`,
    );
  }
}

function fileProblem(file: string, { mode, uid }: Stats): string | undefined {
  const own = process.getuid?.() ?? uid;
  if (uid !== own) {
    return `${file} belongs to user ${uid}, and you are user ${own}: whoever owns it reads and changes the stack's passphrase. Make it yours:\n  chown ${own} ${file}`;
  }
  if ((mode & 0o077) === 0) return undefined;
  const rights = (mode & 0o777).toString(8).padStart(4, "0");
  return `${file} holds the stack's passphrase, and others may open it (mode ${rights}). Close it:\n  chmod 600 ${file}`;
}

/** Each command that Pulumi's plugin starts inherits Pulumi's own environment. */
function openPassphrase(stack: string): string {
  const file = `"$HOME/.config/chillbox-${stack}-passphrase"`;
  return [
    `PULUMI_CONFIG_PASSPHRASE is set: every command that Pulumi starts could read the passphrase of stack ${stack} there.`,
    "Put it into a file that you alone can read, and name that file instead:",
    `  (umask 077 && printf '%s\\n' "$PULUMI_CONFIG_PASSPHRASE" >${file})`,
    "  unset PULUMI_CONFIG_PASSPHRASE",
    `  export PULUMI_CONFIG_PASSPHRASE_FILE=${file}`,
  ].join("\n");
}

/**
 * What a person can do when Pulumi could not open a stack's secrets; `undefined` when that is not what it said.
 * @param said Pulumi's messages
 */
export function explainPassphrase(said: string, stack: string, environment: NodeJS.ProcessEnv): string | undefined {
  const file = environment.PULUMI_CONFIG_PASSPHRASE_FILE;
  if (/incorrect passphrase/.test(said)) {
    return [
      `The passphrase in ${file} is not the one that stack ${stack} is encrypted with.`,
      "Name the right file in PULUMI_CONFIG_PASSPHRASE_FILE, or put the right passphrase into this one.",
      "After `pulumi stack change-secrets-provider passphrase` that is the new passphrase.",
    ].join("\n");
  }
  if (/passphrase must be set/.test(said)) {
    return [
      `Pulumi needs the passphrase of stack ${stack}. Name the file that holds it:`,
      `  export PULUMI_CONFIG_PASSPHRASE_FILE="$HOME/.config/chillbox-${stack}-passphrase"`,
    ].join("\n");
  }
  return undefined;
}
