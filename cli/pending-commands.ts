import { readFile } from "node:fs/promises";
import { askPulumi, type Pulumi, stateFile } from "./pulumi.ts";

/** The part of a state that is read here. */
interface State {
  readonly checkpoint: {
    readonly latest?: { readonly pending_operations?: readonly { readonly resource: { readonly type: string } }[] };
  };
}

/**
 * Forgets that commands of ours were being created when an earlier run was killed: Pulumi would warn of them for good. Each is safe to
 * repeat, and the next `up` repeats it. While something of DigitalOcean's is pending all of it stays: it may be there without an entry in
 * the state, which is for a person to see.
 */
export async function forgetPendingCommands(pulumi: Pulumi, stack: string): Promise<void> {
  const text = await readFile(stateFile(pulumi.settings, stack), "utf8").catch(() => undefined);
  if (text === undefined) return;
  const { checkpoint } = JSON.parse(text) as State;
  const pending = checkpoint.latest?.pending_operations ?? [];
  if (pending.length === 0 || !pending.every(({ resource }) => resource.type.startsWith("command:"))) return;
  // Importing a state drops all that is pending; its secrets stay encrypted on this way.
  const exported = await askPulumi(pulumi, ["stack", "export", "--stack", stack]);
  await askPulumi(pulumi, ["stack", "import", "--stack", stack], exported);
}
