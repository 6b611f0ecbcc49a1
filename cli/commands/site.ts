import { Argument, Command, Option } from "commander";

const site = new Command("site").description("check site files, and begin new sites");

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

export default site;
