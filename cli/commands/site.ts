import { Argument, Command, Option } from "commander";
import { matching, slugArgument, stackOption } from "../arguments.ts";

const site = new Command("site").description(
  "check site files, begin new sites, allow their commands, remove what is left of old ones",
);

site
  .command("check")
  .description("print every problem of site files, with line and column; the exit code is 1 when one is an error")
  .argument("[files...]", "site files; without one: all of sites/")
  .option("--json", "for programs")
  .action(async (files: string[], options: { json?: boolean }) => {
    const { checkAndPrint } = await import("../site-check.ts");
    await checkAndPrint({ files, json: options.json ?? false });
  });

site
  .command("new")
  .description("make a site that works, to begin from: its file and its folder under sites/")
  .addArgument(new Argument("<slug>", "name of the site: lower-case letters, digits and hyphens"))
  .addOption(new Option("--kind <kind>", "static, immutable, python, worker or chill").default("python"))
  .action(async (slug: string, { kind }: { kind: string }) => {
    const { makeSite } = await import("../site-new.ts");
    await makeSite(slug, kind);
  });

site
  .command("allow")
  .description("show the commands of a site file, which run on this machine when it is built, and allow them")
  .addArgument(slugArgument())
  .option("--yes", "allow them without asking")
  .addOption(
    new Option("--stack <name>", "the stack that may run them")
      .default("local")
      .argParser(matching(/^[A-Za-z0-9_.-]{1,100}$/, "give a stack's name")),
  )
  .action(async (slug: string, options: { yes?: boolean; stack: string }) => {
    const { allowCommands } = await import("../site-allow.ts");
    await allowCommands({ slug, stack: options.stack, yes: options.yes ?? false });
  });

site
  .command("purge")
  .description("remove what the server keeps of a site that was taken away: data, logs, user; nothing brings it back")
  .addOption(stackOption())
  .option("--yes", "without asking for the slug once more")
  .addArgument(slugArgument())
  .action(async (slug: string, options: { stack: string; yes?: boolean }) => {
    const { purgeSite } = await import("../purge.ts");
    await purgeSite({ stack: options.stack, slug, yes: options.yes ?? false });
  });

export default site;
