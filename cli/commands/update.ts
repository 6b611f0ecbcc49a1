import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("update")
  .description("bring the server's packages up to date now, once it has shown which")
  .addOption(stackOption())
  .option("--yes", "do not ask")
  .option("--reboot", "restart the server afterwards, and unlock it")
  .action(async (options: { stack: string; yes?: boolean; reboot?: boolean }) => {
    const { updateServer } = await import("../update.ts");
    await updateServer({ stack: options.stack, yes: options.yes === true, reboot: options.reboot === true });
  });
