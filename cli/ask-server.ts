import { ask, openServer } from "./connection.ts";

/**
 * Asks one question of a stack's server.
 * @param command one of the server's commands that print JSON
 * @param input its standard input, as JSON
 */
export async function askServer<T>(stack: string, command: string, input?: unknown): Promise<T> {
  const server = await openServer(stack);
  try {
    return await ask<T>(server, command, input);
  } finally {
    server.end();
  }
}
