import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("status")
  .description("the server and its sites: what runs, since when, and why something does not")
  .addOption(stackOption())
  .option("--json", "for programs")
  .action(async (options: { stack: string; json?: boolean }) => {
    const [{ askServer }, { renderStatus }] = await Promise.all([import("../ask-server.ts"), import("../status.ts")]);
    const status = await askServer<import("../status.ts").Status>(options.stack, "doas chillbox-status");
    process.stdout.write(options.json ? `${JSON.stringify(status, undefined, 2)}\n` : renderStatus(status));
  });
