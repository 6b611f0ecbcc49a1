import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { passphraseFile, pathWithTools, shellEnvironment, shellQuote } from "../toolchain/environment.ts";
import { setUp } from "../toolchain/setup.ts";
import { toDeploy } from "../toolchain/tools/index.ts";

/** Prints shell commands for `eval`: this copy's Pulumi first on PATH, its home, and the passphrase of stack `local`. */
export async function printEnvironment(): Promise<void> {
  const settings = localCloudSettings();
  // Standard output is for the shell alone.
  const tools = await setUp({ needs: toDeploy, settings, plain: true });
  const variables = {
    PATH: pathWithTools(settings, tools),
    ...shellEnvironment(settings),
    PULUMI_CONFIG_PASSPHRASE_FILE: passphraseFile(settings),
  };
  for (const [name, value] of Object.entries(variables)) {
    process.stdout.write(`export ${name}=${shellQuote(value)}\n`);
  }
  // It would win over the file.
  process.stdout.write("unset PULUMI_CONFIG_PASSPHRASE\n");
}
