import { Command } from "commander";

export default new Command("down")
  .description("remove everything of the local stack and stop the local cloud; tools and image stay cached")
  .option("--yes", "install missing Debian packages without asking")
  .option(
    "--force",
    "without Pulumi: throw away the local cloud's data, the stack's state and the secrets in Pulumi.local.yaml",
  )
  .action(async (options: { yes?: boolean; force?: boolean }) => {
    const { takeDown } = await import("../down.ts");
    await takeDown({ yes: options.yes ?? false, force: options.force ?? false });
  });
