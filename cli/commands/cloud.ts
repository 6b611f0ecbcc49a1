import { Command } from "commander";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { readCount } from "../arguments.ts";

const say = (line: string) => process.stderr.write(`${line}\n`);

const cloud = new Command("cloud").description("the local DigitalOcean on this machine");

cloud
  .command("start")
  .description("start it and wait until it answers; nothing happens when it runs already")
  .action(async () => {
    const [{ startCloud }, { setUp }] = await Promise.all([
      import("../../local-cloud/control.ts"),
      import("../../toolchain/setup.ts"),
    ]);
    const settings = localCloudSettings();
    const tools = await setUp({ needs: ["debian-packages", "versitygw", "pebble"], settings });
    const started = await startCloud(settings, say, { versitygw: tools.versitygw?.path, pebble: tools.pebble?.path });
    say(started ? `The local cloud runs: API on ${settings.apiEndpoint}` : "The local cloud runs already.");
  });

cloud
  .command("stop")
  .description("shut its droplets down and stop it; its data stays")
  .action(async () => {
    const { stopCloud } = await import("../../local-cloud/control.ts");
    const stopped = await stopCloud(localCloudSettings(), say);
    say(stopped ? "The local cloud is stopped." : "The local cloud is not running.");
  });

cloud
  .command("status")
  .description("say whether it runs and list its droplets; the exit code is 3 when it does not run")
  .option("--json", "for programs")
  .action(async (options: { json?: boolean }) => {
    const { cloudStatus } = await import("../../local-cloud/control.ts");
    const status = await cloudStatus(localCloudSettings());
    process.stdout.write(options.json ? `${JSON.stringify(status, null, 2)}\n` : describe(status));
    if (!status.answers) {
      process.exitCode = 3;
    }
  });

cloud
  .command("logs")
  .description("print the end of its log, or of a droplet's console")
  .option("--droplet <name or id>", "the droplet whose console is printed")
  .option("--lines <number>", "how many lines", readCount, 100)
  .action(async (options: { droplet?: string; lines: number }) => {
    const { cloudLogs } = await import("../../local-cloud/control.ts");
    process.stdout.write(`${await cloudLogs(localCloudSettings(), options)}\n`);
  });

cloud
  .command("trust")
  .description("show the roots of its certificates, for a browser or curl on this machine")
  .option("--pem", "the roots themselves")
  .action(async (options: { pem?: boolean }) => {
    const { describeRoots } = await import("../../local-cloud/acme/roots.ts");
    process.stdout.write(await describeRoots(localCloudSettings(), options.pem === true));
  });

cloud
  .command("reset")
  .description("stop it and delete its data: droplets, buckets, images, credentials")
  .action(async () => {
    const { resetCloud } = await import("../../local-cloud/control.ts");
    await resetCloud(localCloudSettings(), say);
    say("The local cloud is empty.");
  });

export default cloud;

function describe(status: import("../../local-cloud/control.ts").CloudStatus): string {
  if (!status.running) {
    return "The local cloud is not running.\n";
  }
  const state = status.answers ? "runs" : "is running but does not answer";
  const droplets = status.droplets.map(
    ({ id, name, status: power, address }) => `  ${id}  ${name}  ${power}  ${address}\n`,
  );
  const list = droplets.length > 0 ? `Droplets:\n${droplets.join("")}` : "It has no droplets.\n";
  return `The local cloud ${state}: process ${status.pid}, API on ${status.apiEndpoint}, addresses ${status.addressRange}.\n${list}`;
}
