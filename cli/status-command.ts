import { ask, openServer } from "./connection.ts";
import type { ServerSecrets } from "./secrets-list.ts";
import { renderStatus, type Status } from "./status.ts";

/** Asks a stack's server how it is, over one connection, and prints it. */
export async function printStatus({ stack, json }: { stack: string; json: boolean }): Promise<void> {
  const client = await openServer(stack);
  try {
    const [status, secrets] = await Promise.all([
      ask<Status>(client, "doas chillbox-status"),
      ask<ServerSecrets>(client, "doas chillbox-secrets list"),
    ]);
    process.stdout.write(
      json ? `${JSON.stringify({ ...status, ...secrets }, undefined, 2)}\n` : renderStatus(status, secrets),
    );
  } finally {
    client.end();
  }
}
