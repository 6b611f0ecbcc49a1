import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { forgetPendingCommands } from "./pending-commands.ts";
import { runPulumi, stack as stackOfLocalCloud } from "./pulumi.ts";
import { changeConfig, readSetSecrets } from "./secrets-config.ts";
import { readConfig, stackConfigFile } from "./stack-config.ts";
import { pulumiFor, readOutputs, upCommand } from "./stack-outputs.ts";
import { bringUp } from "./up.ts";

const key = "serverKeyNumber";

/**
 * Raises the number of the server's key in the stack's configuration and runs `up`, which does the rest: another key, every secret
 * encrypted to it, the old key forgotten. After an interruption `up`, or this again, goes on with the same number.
 * @throws UserError when a secret is a file of the older format: only who made it can make it for another key
 */
export async function rotateKey(stack: string): Promise<void> {
  await refuseOlder(stack);
  const { unlock } = await readOutputs(stack);
  if (!unlock) throw new UserError(`The server has no key for secrets yet: \`${upCommand(stack)}\` makes it.`);
  const { [key]: configured } = await readConfig(stackConfigFile(localCloudSettings(), stack));
  const isUnderWay = Number(configured ?? 1) > unlock.number;
  if (!isUnderWay) await changeConfig(stack, [{ words: ["set", key, String(unlock.number + 1)] }]);
  if (stack === stackOfLocalCloud) return bringUp({ yes: false, pulumiArguments: [] });
  const wayOut = `Mend the cause and go on with: ${upCommand(stack)}`;
  const pulumi = await pulumiFor(stack);
  await forgetPendingCommands(pulumi, stack);
  await runPulumi(pulumi, ["up", "--stack", stack], wayOut);
}

async function refuseOlder(stack: string): Promise<void> {
  const older = Object.entries(await readSetSecrets(stack)).flatMap(([slug, services]) =>
    Object.entries(services).flatMap(([service, secret]) => ("older" in secret ? [`${slug} ${service}`] : [])),
  );
  if (older.length === 0) return;
  throw new UserError(
    [
      `The file of the older format of ${older.join(", ")} can be opened with the present key alone, so that the key has to stay.`,
      "Set its content first, which chillbox then encrypts by itself: npx chillbox secrets set SLUG SERVICE <FILE",
    ].join("\n"),
  );
}
