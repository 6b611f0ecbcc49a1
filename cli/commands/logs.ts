import { Argument, Command } from "commander";
import { matching, readCount, slugArgument, stackOption } from "../arguments.ts";

const service = new Argument("[service]", 'one service alone, or "nginx" for its access and error log').argParser(
  matching(/^[A-Za-z][A-Za-z0-9_-]{0,30}$/, "give a service's name, such as api"),
);

export default new Command("logs")
  .description("the end of a site's logs: of its services, and of nginx for it")
  .addOption(stackOption())
  .option("-f, --follow", "go on printing what is added, until ^C")
  .option("--lines <number>", "how many lines of each log", readCount, 100)
  .addArgument(slugArgument())
  .addArgument(service)
  .action(async (slug: string, name: string | undefined, options: LogsOptions) => {
    const { printLogs } = await import("../logs.ts");
    process.exitCode = await printLogs({ ...options, slug, ...(name === undefined ? {} : { service: name }) });
  });

interface LogsOptions {
  stack: string;
  follow?: boolean;
  lines: number;
}
