import { Argument, Command } from "commander";
import { matching, slugArgument, stackOption } from "../arguments.ts";

const name = /^[A-Za-z][A-Za-z0-9_-]{0,30}$/;

function serviceArgument(spelled: string): Argument {
  return new Argument(spelled, "the service or worker").argParser(matching(name, "give a service's name, such as api"));
}

const secrets = new Command("secrets").description("what services get to know, and nobody else");

secrets
  .command("list", { isDefault: true })
  .description("what each service wants, what is set, and what is on the server; never a value")
  .addOption(stackOption())
  .option("--json", "for programs")
  .action(async (options: { stack: string; json?: boolean }) => {
    const { listSecrets } = await import("../secrets-list.ts");
    await listSecrets({ stack: options.stack, json: options.json ?? false });
  });

secrets
  .command("set")
  .description("set a service's whole secrets file, from standard input: any bytes")
  .addOption(stackOption())
  .addArgument(slugArgument())
  .addArgument(serviceArgument("<service>"))
  .action(async (slug: string, service: string, options: { stack: string }) => {
    const { setSecret } = await import("../secrets.ts");
    await setSecret({ stack: options.stack, slug, service });
  });

secrets
  .command("rm")
  .description("take a key, a service's secrets, or all of a site's out of the configuration")
  .addOption(stackOption())
  .addArgument(slugArgument())
  .addArgument(serviceArgument("[service]"))
  .addArgument(
    new Argument("[key]", "one key alone").argParser(matching(/^[A-Za-z0-9_-]{1,200}$/, "give the name of a key")),
  )
  .action(async (slug: string, service: string | undefined, key: string | undefined, options: { stack: string }) => {
    const { removeSecret } = await import("../secrets.ts");
    const { stack } = options;
    await removeSecret({ stack, slug, ...(service ? { service } : {}), ...(key ? { key } : {}) });
  });

secrets
  .command("adopt")
  .description("take a secrets file of the older format that other tools have put into the artifact bucket")
  .addOption(stackOption())
  .addArgument(slugArgument())
  .addArgument(serviceArgument("<service>"))
  .action(async (slug: string, service: string, options: { stack: string }) => {
    const { adoptSecret } = await import("../secrets.ts");
    await adoptSecret({ stack: options.stack, slug, service });
  });

export default secrets;
