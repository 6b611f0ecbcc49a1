import { Command } from "commander";

export default new Command("env")
  .description('print the exports with which plain `pulumi` works in your shell: eval "$(npx chillbox env)"')
  .action(async () => {
    const { printEnvironment } = await import("../environment.ts");
    await printEnvironment();
  });
