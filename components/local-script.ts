import * as local from "@pulumi/command/local/index.js";
import * as pulumi from "@pulumi/pulumi";
import { localCommandLine } from "../lib/child-environment.ts";

export interface LocalScriptArgs {
  /** Script (and its plain arguments) that runs at creation and whenever the input changes: it must be safe to repeat. */
  readonly create: readonly [script: string, ...words: string[]];
  /** Script that runs when the resource goes, with the same input. */
  readonly delete?: readonly [script: string, ...words: string[]];
  /** Handed over as JSON on stdin. May hold secrets. */
  readonly input: pulumi.Input<unknown>;
  /** Whether what the script writes to stderr is shown: progress of what takes a while. Default: nothing is shown. */
  readonly showsProgress?: boolean;
  /**
   * For what is made once (keys, random names, an envelope): later changes of the input are ignored, because making it again
   * would mean other servers and buckets.
   */
  readonly once?: boolean;
  /** Identity of what the script worked on; another one runs it anew. For scripts without `delete` only. */
  readonly triggers?: pulumi.Input<pulumi.Input<string>[]>;
}

/** A local command and the object that it printed. */
export interface LocalScript<Result> {
  readonly command: local.Command;
  /** Secret. */
  readonly result: pulumi.Output<Result>;
}

/**
 * Runs one of chillbox's scripts on the laptop as a resource. Secrets travel by stdin and stdout alone; neither is logged, nor handed
 * to the next run by environment.
 */
export function localScript<Result>(
  name: string,
  args: LocalScriptArgs,
  opts: pulumi.CustomResourceOptions,
): LocalScript<Result> {
  const inputs: local.CommandArgs = {
    create: localCommandLine(...args.create),
    ...(args.delete ? { delete: localCommandLine(...args.delete) } : {}),
    stdin: pulumi.secret(pulumi.jsonStringify(args.input)),
    logging: args.showsProgress ? "stderr" : "none",
    addPreviousOutputInEnv: false,
    ...(args.triggers ? { triggers: args.triggers } : {}),
  };
  const command = new local.Command(name, inputs, {
    ...opts,
    additionalSecretOutputs: ["stdin", "stdout", "stderr"],
    ...(args.once ? { ignoreChanges: ["create", "delete", "stdin", "logging", "addPreviousOutputInEnv"] } : {}),
  });
  return { command, result: pulumi.secret(command.stdout).apply((text) => JSON.parse(text) as Result) };
}
