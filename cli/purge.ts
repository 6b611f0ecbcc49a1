import { createInterface } from "node:readline/promises";
import { type LocalCloudSettings, localCloudSettings } from "../lib/local-cloud-settings.ts";
import { slugOfSiteFile } from "../lib/names.ts";
import type { SshConnection } from "../lib/open-ssh.ts";
import { UserError } from "../lib/user-error.ts";
import { ask, openServer } from "./connection.ts";
import { listSiteFiles, sitesFolder } from "./sites-folder.ts";
import { plainText, renderTable } from "./table.ts";

/** Something that a server keeps of a site. */
export interface Kept {
  /** data, log, deploy log or user. */
  readonly what: string;
  /** Path, or the user's name. */
  readonly path: string;
  readonly bytes: number;
}

/** What `chillbox-site purge` prints on the server. */
interface PurgeResult {
  readonly result: "there" | "purged" | "unchanged";
  readonly kept: readonly Kept[];
}

const command = "doas chillbox-site purge";

export interface PurgeRequest {
  readonly stack: string;
  readonly slug: string;
  /** Nothing is asked. */
  readonly yes: boolean;
}

/**
 * Removes what a server keeps of a site that is no longer deployed, after it was shown and the person typed the slug.
 * @throws UserError when the site has a site file or is on the server, and when the person does not agree
 */
export async function purgeSite(request: PurgeRequest): Promise<void> {
  await refuseSiteWithFile(localCloudSettings(), request);
  const server = await openServer(request.stack);
  try {
    await purgeFrom(server, request);
  } finally {
    server.end();
  }
}

/** What purgeSite does on the server. */
export async function purgeFrom(server: SshConnection, { stack, slug, yes }: PurgeRequest): Promise<void> {
  const { kept } = await ask<PurgeResult>(server, command, { slug, look: true });
  if (kept.length === 0) {
    process.stdout.write(`The server of stack ${stack} keeps nothing of ${slug}.\n`);
    return;
  }
  process.stdout.write(`The server of stack ${stack} keeps of ${slug}:\n${renderKept(kept)}`);
  if (!yes) await askForSlug(slug);
  await ask<PurgeResult>(server, command, { slug });
  process.stdout.write("All of it is removed.\n");
}

/** @throws UserError when a site file of this stack has the slug: the next `up` would bring the site back */
export async function refuseSiteWithFile(
  settings: LocalCloudSettings,
  { stack, slug }: { stack: string; slug: string },
): Promise<void> {
  const folder = await sitesFolder(settings, stack);
  const name = (await listSiteFiles(folder)).find((each) => slugOfSiteFile(each) === slug);
  if (name === undefined) return;
  throw new UserError(
    `${slug} is deployed: ${folder}/${name} is its site file. Take it out and run \`up\`, which removes the site and keeps its data; then purge it.`,
  );
}

async function askForSlug(slug: string): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UserError(
      `Nothing was removed: there is no terminal to ask on. \`npx chillbox site purge ${slug} --yes\` does not ask.`,
    );
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    // ^D closes it and leaves the question without an answer.
    const closed = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
    const typed = await Promise.race([
      terminal.question(`Nothing brings it back. Type ${slug} to remove it: `),
      closed,
    ]);
    if (typed.trim() !== slug) throw new UserError("Nothing was removed.");
  } finally {
    terminal.close();
  }
}

/** What there is as a table for a person. */
export function renderKept(kept: readonly Kept[]): string {
  return plainText(
    renderTable(
      kept.map(({ what, path, bytes }) => [what, path, what === "user" ? "" : size(bytes)]),
      "  ",
    ),
  );
}

function size(bytes: number): string {
  if (bytes >= 2 ** 30) return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
  return bytes >= 2 ** 20 ? `${(bytes / 2 ** 20).toFixed(1)} MiB` : `${Math.ceil(bytes / 1024)} KiB`;
}
