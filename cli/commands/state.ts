import { Command, Option } from "commander";
import { matching } from "../arguments.ts";

const state = new Command("state").description("look after what Pulumi keeps of a stack");

state
  .command("prune")
  .description("after a change of the passphrase: remove older copies of the state, which the old one still opens")
  .addOption(
    new Option("--stack <name>", "the stack")
      .default("local")
      .argParser(matching(/^[A-Za-z0-9_.-]{1,100}$/, "give a stack's name")),
  )
  .action(async (options: { stack: string }) => {
    const { pruneState } = await import("../old-state.ts");
    await pruneState(options.stack);
  });

export default state;
