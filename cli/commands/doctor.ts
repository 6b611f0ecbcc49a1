import { Command } from "commander";

export default new Command("doctor")
  .description("list the tools: version, where each came from, and what is missing")
  .option("--json", "for programs")
  .action(async (options: { json?: boolean }) => {
    const { examine } = await import("../doctor.ts");
    await examine(options.json ?? false);
  });
