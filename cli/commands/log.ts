import { Command } from "commander";
import { readCount, slugArgument, stackOption } from "../arguments.ts";

export default new Command("log")
  .description("the deploys of a site: who, when, from, to, why, and what became of it")
  .addOption(stackOption())
  .option("--json", "for programs")
  .option("--lines <number>", "how many of the newest", readCount, 50)
  .addArgument(slugArgument())
  .action(async (slug: string, options: { stack: string; json?: boolean; lines: number }) => {
    const [{ askServer }, { renderDeploys }] = await Promise.all([import("../ask-server.ts"), import("../status.ts")]);
    const input = { slug, lines: options.lines };
    const deploys = await askServer<import("../status.ts").Deploy[]>(options.stack, "doas chillbox-site log", input);
    process.stdout.write(options.json ? `${JSON.stringify(deploys, undefined, 2)}\n` : renderDeploys(deploys));
  });
