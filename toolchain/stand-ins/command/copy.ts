import { once } from "node:events";
import { createReadStream, statSync } from "node:fs";
import { basename, posix } from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { create } from "tar";
import type { SshConnection } from "../../../lib/open-ssh.ts";
import type { Call } from "../plugin/plugin.ts";
import { asArchive, asAsset, type Properties } from "../plugin/wire.ts";
import { type Connection, dial } from "./connection.ts";

/** What is wrong with a `source`, or `undefined`. */
export function sourceFault(source: unknown): string | undefined {
  const asset = asAsset(source);
  const archive = asArchive(source);
  if (asset === undefined && archive === undefined) {
    return "source must be an asset or an archive";
  }
  if (asset !== undefined && !asset.path && asset.text === undefined) {
    return "asset must be a file asset or a text asset";
  }
  return archive !== undefined && !archive.path ? "archive must be a path to a file or folder" : undefined;
}

/**
 * Copies `source` to `remotePath`, by the host's shell. A folder without a trailing slash arrives as a folder in `remotePath`, with one only
 * its content does; a file goes into an existing folder, else to that path, of which the parents are made. Not atomic.
 */
export async function copyToRemote(inputs: Properties, call: Call): Promise<void> {
  const host = await dial(inputs.connection as Connection, call);
  try {
    const target = inputs.remotePath as string;
    const asset = asAsset(inputs.source);
    if (asset?.text !== undefined && !asset.path) {
      await send(host, `! [ -d ${quote(target)} ] && ${writeTo(quote(target))}`, Readable.from([asset.text]));
    } else {
      await copyPath(host, (asset ?? asArchive(inputs.source))?.path ?? "", target);
    }
  } finally {
    host.end();
  }
}

async function copyPath(host: SshConnection, source: string, target: string): Promise<void> {
  if (!statSync(source).isDirectory()) {
    const inside = quote(posix.join(target, basename(source)));
    const place = `file=${quote(target)}; if [ -d "$file" ]; then file=${inside}; fi`;
    return send(host, `${place}; ${writeTo('"$file"')}`, createReadStream(source));
  }
  const folder = quote(source.endsWith("/") ? target : posix.join(target, basename(source)));
  const files = Readable.from(create({ cwd: source, portable: true, follow: true }, ["."]));
  return send(host, `mkdir -p ${folder} && tar -x -f - -C ${folder}`, files);
}

function writeTo(file: string): string {
  return `mkdir -p "$(dirname ${file})" && cat >${file}`;
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Runs a command that reads this. */
async function send(host: SshConnection, command: string, content: Readable): Promise<void> {
  const child = host.start(command);
  content.pipe(child.stdin);
  child.stdout.resume();
  const [[code], errors] = await Promise.all([once(child, "close"), text(child.stderr)]);
  if (code !== 0) throw new Error(`cannot copy to the host (${command}): ${errors.trim() || `status ${code}`}`);
}
