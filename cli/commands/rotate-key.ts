import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("rotate-key")
  .description("have the server make another key for secrets, encrypt all of them to it, and forget the old one")
  .addOption(stackOption())
  .action(async (options: { stack: string }) => {
    const { rotateKey } = await import("../rotate-key.ts");
    await rotateKey(options.stack);
  });
