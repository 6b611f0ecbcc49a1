import { Argument, Command } from "commander";
import { matching, readCount, slugArgument, stackOption } from "../arguments.ts";
import { readSince } from "../since.ts";

const service = new Argument(
  "[service]",
  'one service alone, "nginx" for its access and error log, or "deploys" for the log of deploys',
).argParser(matching(/^_?[A-Za-z][A-Za-z0-9_-]{0,30}$/, "give a service's name, such as api"));

export default new Command("logs")
  .description("a site's logs: of its services, of nginx for it, and of its deploys")
  .addOption(stackOption())
  .option("-f, --follow", "go on printing what is added, until ^C")
  .option("--since <time>", "only what is newer: 10m, 2h, 3d, or a time such as 2026-11-22T20:00", readSince)
  .option("--lines <number>", "how many lines of each log; default 100, with --since all", readCount)
  .addArgument(slugArgument())
  .addArgument(service)
  .action(async (slug: string, name: string | undefined, options: LogsOptions) => {
    const { printLogs } = await import("../logs.ts");
    process.exitCode = await printLogs({ ...options, slug, ...(name === undefined ? {} : { service: name }) });
  });

interface LogsOptions {
  stack: string;
  follow?: boolean;
  since?: string;
  lines?: number;
}
