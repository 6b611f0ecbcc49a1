import { Command } from "commander";

export default new Command("up")
  .description("set up, start the local cloud, deploy every site to it, and print the addresses")
  .option("--yes", "install missing Debian packages without asking")
  .argument("[arguments...]", "more arguments for `pulumi up`, after --")
  .action(async (pulumiArguments: string[], options: { yes?: boolean }) => {
    const { bringUp } = await import("../up.ts");
    await bringUp({ yes: options.yes ?? false, pulumiArguments });
  });
