import type { WorkerEntry } from "../site-file.ts";
import { UserError } from "../user-error.ts";
import type { ServiceParts } from "./parts.ts";

/** Copies of a command, as the server runs them. */
export interface PythonWorker {
  readonly name: string;
  readonly lang: "python-worker";
  /** As in the site file, for people. The worker's folder in the release is `<slug>/<name>/` (site contract, section 2). */
  readonly handler: string;
  /** Found in the bin folder of the worker's virtual environment first. */
  readonly runCommand: string;
  readonly count: number;
  readonly niceness: number;
  readonly environment: Readonly<Record<string, string>>;
}

/** @throws UserError when the command's quotes are not closed */
export function renderWorker(worker: WorkerEntry, { where, environment }: ServiceParts): PythonWorker {
  const runCommand = worker["run-cmd"];
  if (runCommand.trim() === "") throw new UserError(`${where} has an empty "run-cmd". Write a command.`);
  if (/['"]|\\$/.test(runCommand.replace(/'[^']*'|"(?:[^"\\]|\\.)*"|\\./gs, ""))) {
    throw new UserError(`${where}: a quote in "run-cmd" is not closed: ${runCommand}. Close it.`);
  }
  return {
    name: worker.name,
    lang: "python-worker",
    handler: worker.handler,
    runCommand,
    count: worker.count ?? 1,
    niceness: worker.niceness ?? 0,
    environment,
  };
}
