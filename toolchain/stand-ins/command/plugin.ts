import { randomBytes } from "node:crypto";
import type { Call, Plugin, ResourceKind } from "../plugin/plugin.ts";
import { readSchema } from "../plugin/schema.ts";
import { hasUnknown, type Properties } from "../plugin/wire.ts";
import { copyToRemote, sourceFault } from "./copy.ts";
import { runLocally } from "./local.ts";
import { runRemotely } from "./remote.ts";

/** Runs one command with a resource's inputs and its last outputs; throws when it fails. */
export type Run = (command: string, inputs: Properties, previous: Properties, call: Call) => Promise<Properties>;

/** The plugin `command`. */
export const commandPlugin: Plugin = {
  version: "1.2.1",
  schema: readSchema(import.meta.url),
  configure: () => undefined,
  resources: {
    "command:local:Command": commandKind(runLocally, ["stdout", "stderr", "assets", "archive"]),
    "command:remote:Command": commandKind(runRemotely, ["stdout", "stderr"]),
    "command:remote:CopyToRemote": copyKind(),
  },
};

function commandKind(run: Run, outputs: readonly string[]): ResourceKind {
  const kept = (state: Properties): Properties => Object.fromEntries(outputs.map((key) => [key, state[key]]));
  return {
    facts: { volatile: outputs.filter((key) => key.startsWith("std")) },
    async create(inputs, call) {
      const id = call.name + randomBytes(4).toString("hex");
      const command = inputs.create;
      const made = typeof command === "string" ? await run(command, inputs, {}, call) : {};
      return { id, outputs: { stdout: "", stderr: "", ...inputs, ...made } };
    },
    async update(_id, state, inputs, call) {
      const command = inputs.update ?? inputs.create;
      const made = typeof command === "string" ? await run(command, inputs, state, call) : {};
      return { stdout: "", stderr: "", ...kept(state), ...inputs, ...made };
    },
    async delete(_id, state, call) {
      const command = state.delete;
      if (typeof command === "string") {
        await run(command, state, state, call);
      }
    },
  };
}

function copyKind(): ResourceKind {
  return {
    facts: {},
    check(inputs) {
      const reason = hasUnknown(inputs.source) ? undefined : sourceFault(inputs.source);
      return reason === undefined ? [] : [{ property: "source", reason }];
    },
    async create(inputs, call) {
      await copyToRemote(inputs, call);
      return { id: randomBytes(4).toString("hex"), outputs: inputs };
    },
    async update(_id, state, inputs, call) {
      const hash = (value: unknown) => (value as { hash?: string } | undefined)?.hash;
      const same = hash(inputs.source) !== undefined && hash(inputs.source) === hash(state.source);
      if (!same || inputs.remotePath !== state.remotePath) {
        await copyToRemote(inputs, call);
      }
      return inputs;
    },
  };
}
