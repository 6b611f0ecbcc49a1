import { ProjectCopy } from "../tests/end-to-end/project-copy.ts";
import type { Bench } from "./group.ts";

/** A copy of the project with ports and addresses of its own. At the end it is taken down and goes away. */
export async function benchProject({ atEnd }: Bench): Promise<ProjectCopy> {
  const copy = await ProjectCopy.make();
  atEnd(async () => {
    await copy.chillbox(["down"]);
    copy.remove();
  });
  return copy;
}

/** Runs `npx chillbox ARGUMENTS` in the copy; throws with all that it said when it fails. */
export async function succeed(
  copy: ProjectCopy,
  args: readonly string[],
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  const { exitCode, output } = await copy.chillbox(args, environment);
  if (exitCode !== 0) throw new Error(`chillbox ${args.join(" ")} failed:\n${output}`);
  return output;
}

/** Of the copy's local cloud: its main process. */
export async function cloudPid(copy: ProjectCopy): Promise<number> {
  return Number(/process (\d+)/.exec(await succeed(copy, ["cloud", "status"]))?.[1]);
}

/** The public address of the copy's only droplet. */
export async function dropletAddress(copy: ProjectCopy): Promise<string> {
  const { droplets } = (await askApi(copy, "GET", "/v2/droplets")) as { droplets: { networks: Networks }[] };
  const address = droplets[0]?.networks.v4.find(({ type }) => type === "public")?.ip_address;
  if (address === undefined) throw new Error("there is no droplet");
  return address;
}

interface Networks {
  readonly v4: readonly { readonly type: string; readonly ip_address: string }[];
}

/** Asks the API of the copy's local cloud. */
export async function askApi(copy: ProjectCopy, method: string, path: string, body?: unknown): Promise<unknown> {
  const { token } = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as { token: string };
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
  const init = body === undefined ? { method, headers } : { method, headers, body: JSON.stringify(body) };
  const answer = await fetch(copy.settings.apiEndpoint + path, init);
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}
