import { ask, openServer } from "./connection.ts";

/**
 * Asks one question of a stack's server.
 * @param command one of the server's commands that print JSON
 * @param input its standard input, as JSON
 */
export async function askServer<T>(stack: string, command: string, input?: unknown): Promise<T> {
  const client = await openServer(stack);
  try {
    return await ask<T>(client, command, input);
  } finally {
    client.end();
  }
}
