import { Command } from "commander";
import { slugsArgument, stackOption } from "../arguments.ts";

export default new Command("certs")
  .description(
    "list the certificates, and order those with a wildcard that are due, which takes this machine's token for DNS",
  )
  .addArgument(slugsArgument("[slugs...]", "sites with a wildcard: at once, whenever it failed last"))
  .addOption(stackOption())
  .option("--force", "new certificates also where none is due")
  .action(async (slugs: string[], options: { stack: string; force?: boolean }) => {
    const { certificates } = await import("../certs.ts");
    await certificates({ stack: options.stack, slugs, force: options.force ?? false });
  });
