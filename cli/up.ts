import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { startCloud } from "../local-cloud/control.ts";
import { checkMachine, checkRoot } from "../local-cloud/preflight.ts";
import { hasLeftovers } from "../local-cloud/sweep.ts";
import { say } from "../toolchain/progress.ts";
import { lookForTools, setUp } from "../toolchain/setup.ts";
import { toRun } from "../toolchain/tools/index.ts";
import { askSites, isPage, type SiteAnswer } from "./ask-sites.ts";
import { forgetPendingCommands } from "./pending-commands.ts";
import { checkProject } from "./project-check.ts";
import { checkPassphrase, preparePulumi, runPulumi, stack } from "./pulumi.ts";
import { ensureStackConfig } from "./stack-config.ts";
import { aloneWithStack } from "./stack-lock.ts";

/**
 * From whatever there is to pages that answer: tools, local cloud, `pulumi up` of stack `local`, one request to each site.
 * @param options.yes install Debian packages without asking
 * @param options.pulumiArguments more arguments for `pulumi up`
 * @throws UserError for everything that a person can mend; a mistake in the project is told before anything has changed
 */
export async function bringUp(options: { yes: boolean; pulumiArguments: readonly string[] }): Promise<void> {
  const settings = localCloudSettings();
  process.chdir(settings.repository);
  refuseTelling(options.pulumiArguments);
  checkRoot();
  checkPassphrase(settings);
  await checkBeforeChanges(settings, options.yes);
  const sites = await checkProject(settings);
  await aloneWithStack(settings, "npm run up", () => deploy(settings, options));
  report(await askSites(settings, sites));
}

/** @throws UserError for options with which Pulumi prints secrets, or writes them to files that others can read */
export function refuseTelling(pulumiArguments: readonly string[]): void {
  const telling = pulumiArguments.find((word) =>
    /^(-d|--debug|-v|--verbose|--logtostderr|--logflow|--tracing|--profiling)(=.*)?$/.test(word),
  );
  if (telling === undefined) return;
  throw new UserError(
    `With ${telling} Pulumi shows secrets in plain text. Leave it out; \`-- --diff\` tells what changes.`,
  );
}

async function deploy(
  settings: LocalCloudSettings,
  options: { yes: boolean; pulumiArguments: readonly string[] },
): Promise<void> {
  const tools = await setUp({ needs: toRun, yes: options.yes, settings });
  await startCloud(settings, say, { versitygw: tools.versitygw?.path, pebble: tools.pebble?.path });
  const pulumi = preparePulumi(settings, tools);
  await ensureStackConfig(pulumi);
  await forgetPendingCommands(pulumi, stack);
  await runPulumi(
    pulumi,
    ["up", "--stack", stack, "--yes", "--skip-preview", ...options.pulumiArguments],
    "Its messages are above. Mend the cause and run the same command again: what was made stays and is not made twice.",
  );
}

/** What the local cloud would refuse, asked before anything of the project is written; where it runs already it has asked itself. */
async function checkBeforeChanges(settings: LocalCloudSettings, yes: boolean): Promise<void> {
  const programs = { needs: ["debian-packages"], yes, settings };
  if (!("debian-packages" in (await lookForTools(programs)))) await setUp(programs);
  if (!(await hasLeftovers(settings))) await checkMachine(settings);
}

function report(answers: readonly SiteAnswer[]): void {
  const width = Math.max(0, ...answers.map((answer) => answer.slug.length));
  const lines = answers.map(({ slug, address, status }) => {
    return `  ${slug.padEnd(width)}  ${address}${isPage(status) ? "" : `  does not answer: ${status}`}`;
  });
  const silent = answers.filter((answer) => !isPage(answer.status));
  process.stdout.write(`\nYour sites:\n${lines.join("\n")}\n`);
  if (silent.length > 0) {
    throw new UserError(
      `${silent.map((answer) => answer.slug).join(", ")}: no page. \`npx chillbox cloud logs\` shows what the local cloud has to say.`,
    );
  }
  process.stdout.write(
    [
      "",
      "Change a site, raise its VERSION, and run `npm run up` again. `npm run down` removes all of it.",
      'Plain Pulumi in this shell: eval "$(npx chillbox env)" && pulumi preview --stack local',
      "",
    ].join("\n"),
  );
}
