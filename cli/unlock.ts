import { UserError } from "../lib/user-error.ts";
import { ask, type Connection, connect } from "./connection.ts";
import { runPlaybook } from "./playbook.ts";
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
  const unlocked = await runPlaybook<Unlocked>("unlock", connection, { keys: [{ number, passphrase }] });
  if (unlocked) process.stdout.write(`${describe(unlocked)}\n`);
  process.stdout.write(await describeRest(connection, stack));
  if (!unlocked) {
    throw new UserError("Not all could be unlocked; the reason is above. The same command can be run again.");
  }
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
