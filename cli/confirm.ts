import { createInterface } from "node:readline/promises";
import { UserError } from "../lib/user-error.ts";

/**
 * Asks a person at the terminal; anything but yes is no.
 * @param way what to do without a terminal
 * @throws UserError when there is none
 */
export async function isConfirmed(question: string, way: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stdout.isTTY) throw new UserError(`There is no terminal to ask. ${way}`);
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
