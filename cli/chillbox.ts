import { readdir } from "node:fs/promises";
import { Command } from "commander";
import { UserError } from "../lib/user-error.ts";

/** Every file in `commands/` whose name is a word is a command: its default export says what it does. */
async function loadCommands(): Promise<Command[]> {
  const folder = new URL("commands/", import.meta.url);
  const all = (await readdir(folder)).filter((name) => name.endsWith(".ts")).sort();
  // The others would only be loaded to be passed over.
  const named = all.filter((name) => name === `${process.argv[2]}.ts`);
  const files = named.length > 0 ? named : all;
  const modules = await Promise.all(files.map((name) => import(new URL(name, folder).href)));
  return modules.map((module: { default: Command }) => module.default);
}

async function main(): Promise<void> {
  const program = new Command("chillbox")
    .description("Websites on one Alpine Linux server that you own.")
    .showHelpAfterError("(`npx chillbox --help` lists the commands)");
  for (const command of await loadCommands()) program.addCommand(command);
  await program.parseAsync();
}

try {
  await main();
} catch (error) {
  if (!(error instanceof UserError)) throw error;
  process.stderr.write(`chillbox: ${error.message}\n`);
  process.exitCode = 1;
}
