import { once } from "node:events";
import type { SshConnection } from "../../../lib/open-ssh.ts";
import type { Call } from "../plugin/plugin.ts";
import type { Properties } from "../plugin/wire.ts";
import { type Connection, dial } from "./connection.ts";
import { collectOutput, commandError, type Output, previousOutputs } from "./output.ts";

/**
 * Runs a command on another host over ssh.
 * @returns stdout and stderr without one trailing newline.
 * @throws when the host cannot be reached, does not accept a variable of `environment`, or the command does not end with status 0.
 */
export async function runRemotely(
  command: string,
  inputs: Properties,
  previous: Properties,
  call: Call,
): Promise<Properties> {
  const host = await dial(inputs.connection as Connection, call);
  try {
    const environment = (inputs.environment as Record<string, string> | undefined) ?? {};
    const extra = previousOutputs(inputs, previous);
    const refused = await refusedVariables(host, { ...environment, ...extra });
    const missing = Object.keys(environment).find((name) => refused.has(name));
    if (missing !== undefined) {
      throw new Error(`the host refused variable ${missing}: name it in AcceptEnv of its sshd_config`);
    }
    if (Object.keys(extra).some((name) => refused.has(name))) {
      call.warn("the host refused the last outputs (PULUMI_COMMAND_STDOUT): set addPreviousOutputInEnv to false");
    }
    const output = collectOutput(inputs.logging, call);
    const cause = await execute(
      host,
      command,
      { ...environment, ...extra },
      inputs.stdin as string | undefined,
      output,
    );
    if (cause !== undefined) {
      throw commandError(cause, command, output);
    }
    return { ...output.streams };
  } finally {
    host.end();
  }
}

/** ssh does not tell whether sshd took a variable, so that the host is asked with a command of its own. */
async function refusedVariables(
  host: SshConnection,
  variables: Readonly<Record<string, string>>,
): Promise<Set<string>> {
  const names = Object.keys(variables);
  if (names.length === 0) {
    return new Set();
  }
  const chunks: Buffer[] = [];
  const collect = { stdout: (chunk: Buffer) => chunks.push(chunk), stderr: () => undefined, finish: () => undefined };
  await execute(host, "env", variables, undefined, collect);
  const found = Buffer.concat(chunks).toString().split("\n");
  return new Set(names.filter((name) => !found.some((line) => line.startsWith(`${name}=`))));
}

/** Runs a command, feeds it and waits for its end; answers the cause when that was not by status 0. */
async function execute(
  host: SshConnection,
  command: string,
  variables: Readonly<Record<string, string>>,
  stdin: string | undefined,
  output: Pick<Output, "stdout" | "stderr" | "finish">,
): Promise<string | undefined> {
  const child = host.start(command, variables);
  child.stdout.on("data", output.stdout);
  child.stderr.on("data", output.stderr);
  child.stdin.end(stdin ?? "");
  const [code] = (await once(child, "close")) as [number | null];
  output.finish();
  if (!host.isOpen) {
    throw new Error("the connection was closed");
  }
  return code === 0 ? undefined : `Process exited with status ${code}`;
}
