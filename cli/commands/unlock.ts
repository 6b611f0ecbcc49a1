import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("unlock")
  .description("open the secrets on the server after it was restarted, and start what waits for them")
  .addOption(stackOption())
  .action(async (options: { stack: string }) => {
    const { unlockServer } = await import("../unlock.ts");
    await unlockServer(options.stack);
  });
