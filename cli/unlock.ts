import { delimiter, dirname, join } from "node:path";
import { execa } from "execa";
import { childEnvironment } from "../lib/child-environment.ts";
import { localCloudSettings } from "../lib/local-cloud-settings.ts";
import { UserError } from "../lib/user-error.ts";
import { lookForTools } from "../toolchain/setup.ts";
import { ask, type Connection, connect } from "./connection.ts";
import type { ServerSecrets } from "./secrets-list.ts";
import { readOutputs, upCommand } from "./stack-outputs.ts";
import { plainText } from "./table.ts";

/** What `chillbox-unlock` prints on the server. */
interface Unlocked {
  readonly opened: number;
  readonly milliseconds: number;
}

/**
 * Sends the passphrase of the server's key, has every secret opened, and says what is open and what still waits.
 * @throws UserError when the server has no key yet, or answers with another host key than the stack knows
 */
export async function unlockServer(stack: string): Promise<void> {
  const { connection, unlock } = await readOutputs(stack);
  if (!unlock) throw new UserError(`The server has no key for secrets yet: \`${upCommand(stack)}\` makes it.`);
  const { number, passphrase } = unlock;
  const unlocked = await runUnlock(connection, { keys: [{ number, passphrase }] });
  if (unlocked) process.stdout.write(`${describe(unlocked)}\n`);
  process.stdout.write(await describeRest(connection, stack));
  if (!unlocked) {
    throw new UserError("Not all could be unlocked; the reason is above. The same command can be run again.");
  }
}

/** Runs the playbook in a process with an environment of its own; keys go by standard input. `undefined`: it failed and has said why. */
async function runUnlock(
  { host, port, user, privateKey, hostKey }: Connection,
  input: object,
): Promise<Unlocked | undefined> {
  const settings = localCloudSettings();
  const { ansible } = await lookForTools({ needs: ["ansible"], settings });
  if (!ansible) throw new UserError("Ansible is not there: `npm run doctor` tells what is, `npm run up` sets it up.");
  const path = [dirname(ansible.path), process.env.PATH].join(delimiter);
  const result = await execa(process.execPath, [join(settings.repository, "ansible/run.ts"), "unlock"], {
    cwd: settings.repository,
    env: { ...childEnvironment(), PATH: path },
    extendEnv: false,
    input: JSON.stringify({ host, port, user, privateKey, hostKeys: [hostKey], input }),
    stderr: ["pipe", "inherit"],
    reject: false,
  });
  return result.failed ? undefined : (JSON.parse(result.stdout) as Unlocked);
}

async function describeRest(connection: Connection, stack: string): Promise<string> {
  const server = await connect(connection);
  try {
    const { secrets } = await ask<ServerSecrets>(server, "doas chillbox-secrets list");
    const lines = secrets
      .filter(({ state }) => state !== "open")
      .map(({ slug, service, file, state }) => {
        const way = state === "locked" ? `needs another key: ${upCommand(stack)}` : "npx chillbox secrets tells how";
        return `${slug} ${service} still waits for ${file}: ${way}\n`;
      });
    return plainText(lines.join(""));
  } finally {
    server.end();
  }
}

function describe({ opened, milliseconds }: Unlocked): string {
  if (opened === 0) return "Nothing was locked.";
  return `${opened === 1 ? "1 secret was" : `${opened} secrets were`} opened in ${milliseconds} ms.`;
}
