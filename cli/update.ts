import { setTimeout as sleep } from "node:timers/promises";
import { UserError } from "../lib/user-error.ts";
import { isConfirmed } from "./confirm.ts";
import { ask, type Connection, connect } from "./connection.ts";
import { runPlaybook } from "./playbook.ts";
import { readOutputs } from "./stack-outputs.ts";
import { heldNotes, type PackageChange, type UpdateStatus } from "./status.ts";
import { plainText, renderTable } from "./table.ts";
import { unlockServer } from "./unlock.ts";

/** What `chillbox-update run` prints on the server. */
interface Updated {
  readonly updated: readonly PackageChange[];
  readonly held: UpdateStatus["held"];
  /** Why it should be restarted. */
  readonly reboot: readonly string[];
}

/** Milliseconds in which a server that restarts is back, with its services. */
const RESTART_LIMIT = 300_000;

/**
 * Shows which packages would change, asks, and has the playbook do it; restarts and unlocks the server if that is wanted.
 * @param options.yes does not ask
 * @throws UserError when the server cannot look, the person says no, or something went wrong
 */
export async function updateServer(options: { stack: string; yes: boolean; reboot: boolean }): Promise<void> {
  const { stack, yes, reboot } = options;
  const { connection } = await readOutputs(stack);
  const { changes } = await askOnce<{ changes: PackageChange[] }>(connection, "doas chillbox-update plan");
  print(changes.length > 0 ? renderChanges(changes) : "All packages are up to date.\n");
  if (changes.length > 0 && !yes) {
    const command = `npx chillbox update${reboot ? " --reboot" : ""} --stack ${stack}`;
    if (!(await isConfirmed("Update them?", `If they may change: ${command} --yes`)))
      throw new UserError("Nothing was changed.");
  }
  // Without changes, too: it ends what an interrupted run has left.
  const done = await runPlaybook<Updated>("update", connection, {});
  if (!done) throw new UserError("Not all of it worked; the reason is above. The same command can be run again.");
  print(describe(done));
  if (reboot) {
    await restart(connection);
    await unlockServer(stack);
  } else if (done.reboot.length > 0) {
    print(`A restart is wanted: ${done.reboot.join("; ")}. npx chillbox update --reboot --stack ${stack}\n`);
  }
}

/** Packages with their versions as a table for a person. */
export function renderChanges(changes: readonly PackageChange[]): string {
  const rows = changes.map(({ package: name, from, to }) => [name, from ?? "(new)", to ?? "(goes)"]);
  return renderTable([["PACKAGE", "FROM", "TO"], ...rows]);
}

function describe({ updated, held }: Updated): string {
  const count = updated.length === 1 ? "1 package was" : `${updated.length} packages were`;
  return [`${count} updated.`, ...heldNotes(held)].map((line) => `${line}\n`).join("");
}

/** Restarts the server and waits until its services run again. */
async function restart(connection: Connection): Promise<void> {
  const { started } = await askOnce<{ started: string }>(connection, "doas chillbox-update reboot");
  print("The server restarts.\n");
  for (const until = Date.now() + RESTART_LIMIT; ; await sleep(500)) {
    try {
      const now = await askOnce<{ started: string }>(connection, "doas chillbox-update started");
      if (now.started !== started) return;
    } catch (error) {
      if (Date.now() > until) throw error;
    }
  }
}

async function askOnce<T>(connection: Connection, command: string): Promise<T> {
  const client = await connect(connection);
  try {
    return await ask<T>(client, command);
  } finally {
    client.end();
  }
}

function print(text: string): void {
  process.stdout.write(plainText(text));
}
