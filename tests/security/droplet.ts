import { readdirSync, readFileSync } from "node:fs";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { readCredentials } from "../../local-cloud/credentials.ts";

/** A droplet of a copy's local cloud, as its API tells of it. */
export interface Droplet {
  readonly id: number;
  readonly name: string;
  readonly status: string;
  readonly networks: { readonly v4: readonly { readonly ip_address: string; readonly type: string }[] };
}

/** Calls the API of a copy's local cloud; answers the body. */
export async function api<T>(settings: LocalCloudSettings, method: string, path: string, body?: unknown): Promise<T> {
  const credentials = await readCredentials(settings);
  const response = await fetch(`${settings.apiEndpoint}/v2/${path}`, {
    method,
    headers: { authorization: `Bearer ${credentials?.token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return (text === "" ? {} : JSON.parse(text)) as T;
}

/** Numbers of the processes that run in a copy's droplets, or in one of them. */
export function dropletProcesses(settings: LocalCloudSettings, droplet: number | undefined = undefined): number[] {
  const mark = `chillbox-${settings.id}/droplet-${droplet ?? ""}`;
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => readQuietly(`/proc/${pid}/cgroup`).includes(mark))
    .map(Number);
}

/** The root folder of a running droplet, as seen from outside. */
export function dropletRoot(settings: LocalCloudSettings, droplet: number): string {
  const [pid] = dropletProcesses(settings, droplet).sort((one, other) => one - other);
  if (pid === undefined) throw new Error(`droplet ${droplet} does not run`);
  return `/proc/${pid}/root`;
}

/** Empty for a process that has ended meanwhile. */
export function readQuietly(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
