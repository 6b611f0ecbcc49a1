import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { resetCloud, startCloud, stopCloud } from "../local-cloud/control.ts";
import { readCredentials } from "../local-cloud/credentials.ts";
import { checkRoot } from "../local-cloud/preflight.ts";
import { say } from "../toolchain/progress.ts";
import { setUp } from "../toolchain/setup.ts";
import { toRun } from "../toolchain/tools/index.ts";
import {
  askPulumi,
  checkPassphrase,
  type Pulumi,
  preparePulumi,
  removeState,
  runPulumi,
  stack,
  stackIsEmpty,
} from "./pulumi.ts";
import { removeSecrets } from "./stack-config.ts";
import { aloneWithStack } from "./stack-lock.ts";
import { forgetStackOutputs } from "./stack-outputs.ts";

/**
 * Removes everything of stack `local` and stops the local cloud. Tools and the image stay in the cache.
 * @param options.force throw it all away without Pulumi: see `throwAway`
 * @throws UserError when another command or Pulumi is at work on the stack, or Pulumi could not remove something; the local cloud then goes on, so that it can be tried again
 */
export async function takeDown(options: { yes: boolean; force: boolean }): Promise<void> {
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  checkRoot();
  if (!options.force) checkPassphrase(settings);
  await aloneWithStack(settings, "npm run down", () =>
    options.force ? throwAway(settings) : takeApart(settings, options.yes),
  );
  await forgetStackOutputs(settings, stack);
}

async function takeApart(settings: LocalCloudSettings, yes: boolean): Promise<void> {
  const isEmpty = stackIsEmpty(settings);
  if (!isEmpty) await removeResources(settings, yes);
  const stopped = await stopCloud(settings, say);
  say(stopped || !isEmpty ? "everything of stack local is gone" : "there was nothing to take down");
}

/**
 * The local cloud's data, the stack's state and the secrets in its configuration go as they are. Needs neither the tools nor the
 * passphrase: it is the way out when one of them is gone.
 */
async function throwAway(settings: LocalCloudSettings): Promise<void> {
  await resetCloud(settings, say);
  await removeState(settings);
  const hadSecrets = await removeSecrets(settings);
  if (hadSecrets)
    say(`secrets are gone from Pulumi.${stack}.yaml: the next start makes its own anew, not those that you added`);
  say("everything of stack local is gone");
}

async function removeResources(settings: LocalCloudSettings, yes: boolean): Promise<void> {
  const tools = await setUp({ needs: toRun, yes, settings });
  const pulumi = preparePulumi(settings, tools);
  if (await readCredentials(settings)) {
    await startCloud(settings, say, { versitygw: tools.versitygw?.path, pebble: tools.pebble?.path });
    await destroy(pulumi);
  } else {
    // What the state tells of went with the local cloud's data.
    await askPulumi(pulumi, ["stack", "rm", stack, "--yes", "--force", "--preserve-config", "--non-interactive"]);
  }
}

async function destroy(pulumi: Pulumi): Promise<void> {
  await runPulumi(
    pulumi,
    ["destroy", "--stack", stack, "--yes", "--skip-preview"],
    "Its messages are above. Try again, or remove all of it as it is: npm run down -- --force",
  );
}
