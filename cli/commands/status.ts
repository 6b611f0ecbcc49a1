import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("status")
  .description("the server and its sites: what runs, since when, and why something does not")
  .addOption(stackOption())
  .option("--json", "for programs")
  .action(async (options: { stack: string; json?: boolean }) => {
    const { printStatus } = await import("../status-command.ts");
    await printStatus({ stack: options.stack, json: options.json ?? false });
  });
