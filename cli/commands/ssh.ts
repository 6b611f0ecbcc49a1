import { Command } from "commander";
import { stackOption } from "../arguments.ts";

export default new Command("ssh")
  .description("a shell on the server, or one command after --; nothing of your own ssh configuration is used")
  .addOption(stackOption())
  .option("-t, --tty", "a terminal for the command")
  .argument("[command...]", "joined by blanks and run by the server's shell; its exit code is passed on")
  .action(async (words: string[], options: { stack: string; tty?: boolean }) => {
    const { session } = await import("../session.ts");
    process.exitCode = await session({ stack: options.stack, words, tty: options.tty ?? false });
  });
