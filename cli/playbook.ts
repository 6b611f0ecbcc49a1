import { delimiter, dirname, join } from "node:path";
import { execa } from "execa";
import { childEnvironment } from "../lib/child-environment.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { lookForTools } from "../toolchain/setup.ts";
import type { Connection } from "./connection.ts";

/**
 * Runs a playbook against a server in a process with an environment of its own; keys go by standard input.
 * @param input for the server's script
 * @returns what the script printed; `undefined`: it failed and has said why on standard error
 */
export async function runPlaybook<Result>(
  name: "unlock" | "update",
  { host, port, user, privateKey, hostKey }: Connection,
  input: object,
): Promise<Result | undefined> {
  const settings = localCloudSettings();
  const { ansible } = await lookForTools({ needs: ["ansible"], settings });
  if (!ansible) throw new UserError("Ansible is not there: `npm run doctor` tells what is, `npm run up` sets it up.");
  const path = [dirname(ansible.path), process.env.PATH].join(delimiter);
  const result = await execa(process.execPath, [join(settings.repository, "ansible/run.ts"), name], {
    cwd: settings.repository,
    env: { ...childEnvironment(), PATH: path },
    extendEnv: false,
    input: JSON.stringify({ host, port, user, privateKey, hostKeys: [hostKey], input }),
    stderr: ["pipe", "inherit"],
    reject: false,
  });
  return result.failed ? undefined : (JSON.parse(result.stdout) as Result);
}
