import { Command } from "commander";
import { slugsArgument, stackOption } from "../arguments.ts";

export default new Command("deploy")
  .description("bring changed sites to the server in a moment; what is more than a site's own files needs `up`")
  .addOption(stackOption())
  .option("--reason <text>", "for the log of deploys", "npx chillbox deploy")
  .addArgument(slugsArgument())
  .action(async (slugs: string[], options: { stack: string; reason: string }) => {
    const { deploy } = await import("../deploy.ts");
    await deploy({ ...options, slugs });
  });
