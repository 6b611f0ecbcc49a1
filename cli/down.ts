import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { resetCloud, startCloud, stopCloud } from "../local-cloud/control.ts";
import { readCredentials } from "../local-cloud/credentials.ts";
import { checkRoot } from "../local-cloud/preflight.ts";
import { say } from "../toolchain/progress.ts";
import { setUp } from "../toolchain/setup.ts";
import { toRun } from "../toolchain/tools/index.ts";
import { askPulumi, checkPassphrase, type Pulumi, preparePulumi, runPulumi, stack, stackIsEmpty } from "./pulumi.ts";
import { removeDeadLocks } from "./state-locks.ts";

/**
 * Removes everything of stack `local` and stops the local cloud. Tools and the image stay in the cache.
 * @param options.force remove it without asking Pulumi: the local cloud's data and the stack's state go as they are
 * @throws UserError when Pulumi could not remove something; the local cloud then goes on, so that it can be tried again
 */
export async function takeDown(options: { yes: boolean; force: boolean }): Promise<void> {
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  checkRoot();
  checkPassphrase(settings);
  const isEmpty = stackIsEmpty(settings);
  if (!isEmpty) await removeResources(settings, options);
  if (options.force) await resetCloud(settings, say);
  const stopped = await stopCloud(settings, say);
  say(stopped || !isEmpty ? "everything of stack local is gone" : "there was nothing to take down");
}

async function removeResources(settings: LocalCloudSettings, options: { yes: boolean; force: boolean }): Promise<void> {
  const tools = await setUp({ needs: toRun, yes: options.yes, settings });
  const pulumi = preparePulumi(settings, tools);
  await removeDeadLocks(settings.repository, stack);
  const hasCloud = (await readCredentials(settings)) !== undefined;
  if (hasCloud && !options.force) {
    await startCloud(settings, say, { versitygw: tools.versitygw?.path });
    await destroy(pulumi);
  } else {
    // What the state tells of went, or is about to go, with the local cloud's data.
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
