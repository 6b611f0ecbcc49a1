import { Argument, Command } from "commander";
import { matching, slugArgument, stackOption } from "../arguments.ts";

const version = new Argument("[version]", "a kept release or its version; default: the one before").argParser(
  matching(/^[0-9A-Za-z][0-9A-Za-z.+_-]{0,112}$/, "give a version, such as 1.0.0"),
);

export default new Command("rollback")
  .description("put a release that the server still has back to use, without losing a request")
  .addOption(stackOption())
  .option("--reason <text>", "for the log of deploys", "npx chillbox rollback")
  .addArgument(slugArgument())
  .addArgument(version)
  .action(async (slug: string, release: string | undefined, options: { stack: string; reason: string }) => {
    const { rollBack } = await import("../rollback.ts");
    await rollBack({ ...options, slug, ...(release === undefined ? {} : { release }) });
  });
