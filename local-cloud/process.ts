import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { LocalCloudSettings } from "../lib/local-cloud-settings.ts";

/** The process that runs the local cloud, as `<cloud>/cloud.pid` tells of it. */
export interface CloudProcess {
  readonly pid: number;
  /** Clock ticks from the laptop's boot to the process's start: tells it from a later one with the same number. */
  readonly startTime: string;
  /** Set once everything listens. */
  readonly ready: boolean;
}

/** Stands in the log before what a person can mend, and is shown without the rest of the log. */
export const userErrorMark = "cannot start: ";

/** File with the process of the local cloud. */
export function pidFile(settings: LocalCloudSettings): string {
  return join(settings.cloud, "cloud.pid");
}

/** Log of the process; an older one is beside it with `.old`. */
export function logFile(settings: LocalCloudSettings): string {
  return join(settings.cloud, "log", "cloud.log");
}

/** The recorded process, if it still lives. */
export async function readProcess(settings: LocalCloudSettings): Promise<CloudProcess | undefined> {
  const text = await readFile(pidFile(settings), "utf8").catch(() => "");
  const recorded = parseJson(text) as Partial<CloudProcess> | undefined;
  if (typeof recorded?.pid !== "number" || recorded.pid <= 1 || typeof recorded.startTime !== "string") {
    return undefined;
  }
  const startTime = await startTimeOf(recorded.pid);
  return startTime === recorded.startTime
    ? { pid: recorded.pid, startTime, ready: recorded.ready === true }
    : undefined;
}

/** Records this process. */
export async function writeProcess(settings: LocalCloudSettings, ready: boolean): Promise<void> {
  const startTime = (await startTimeOf(process.pid)) ?? "";
  await replaceFile(pidFile(settings), `${JSON.stringify({ pid: process.pid, startTime, ready })}\n`);
}

/** Forgets the recorded process. */
export async function removeProcess(settings: LocalCloudSettings): Promise<void> {
  await rm(pidFile(settings), { force: true });
}

/** Start of a living process in clock ticks since boot (proc(5), stat's field 22); `undefined` for a dead one or a zombie. */
export async function startTimeOf(pid: number): Promise<string | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  const fields = text?.slice(text.lastIndexOf(")") + 2).split(" ");
  return fields?.[0] === "Z" ? undefined : fields?.[19];
}

/** Writes a file so that a reader sees the old or the new content, and the new one lasts. */
export async function replaceFile(path: string, content: string, mode = 0o600): Promise<void> {
  const temporary = `${path}.${process.pid}.new`;
  const file = await open(temporary, "w", mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const folder = await open(dirname(path), "r");
  await folder.sync().finally(() => folder.close());
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
