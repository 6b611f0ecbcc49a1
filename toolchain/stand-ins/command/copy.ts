import { readdirSync, statSync } from "node:fs";
import { basename, join, posix } from "node:path";
import type { SFTPWrapper, Stats } from "ssh2";
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
 * Copies `source` to `remotePath` by SFTP. A folder without a trailing slash arrives as a folder in `remotePath`, with one only its
 * content does; a file goes into an existing folder, else to that path, of which the parents are made. Not atomic.
 */
export async function copyToRemote(inputs: Properties, call: Call): Promise<void> {
  const client = await dial(inputs.connection as Connection, call);
  try {
    const sftp = await new Promise<SFTPWrapper>((resolve, reject) => {
      client.sftp((error, channel) => (error ? reject(error) : resolve(channel)));
    });
    const target = inputs.remotePath as string;
    const asset = asAsset(inputs.source);
    if (asset?.text !== undefined && !asset.path) {
      await copyText(sftp, asset.text, target);
    } else {
      await copyPath(sftp, (asset ?? asArchive(inputs.source))?.path ?? "", target);
    }
  } finally {
    client.end();
  }
}

async function copyText(sftp: SFTPWrapper, text: string, target: string): Promise<void> {
  if ((await remoteStat(sftp, target))?.isDirectory()) {
    throw new Error(`remote path ${target} is a directory; a text asset needs the path of a file`);
  }
  await makeFolders(sftp, posix.dirname(target));
  await done(`write ${target}`, (callback) => sftp.writeFile(target, text, callback));
}

async function copyPath(sftp: SFTPWrapper, source: string, target: string): Promise<void> {
  const existing = await remoteStat(sftp, target);
  if (!statSync(source).isDirectory()) {
    const file = existing?.isDirectory() ? posix.join(target, basename(source)) : target;
    await makeFolders(sftp, posix.dirname(file));
    await copyFile(sftp, source, file);
    return;
  }
  await makeFolder(sftp, target);
  await copyFolder(sftp, source, source.endsWith("/") ? target : posix.join(target, basename(source)));
}

async function copyFolder(sftp: SFTPWrapper, source: string, target: string): Promise<void> {
  await makeFolder(sftp, target);
  for (const entry of readdirSync(source)) {
    const from = join(source, entry);
    const to = posix.join(target, entry);
    await (statSync(from).isDirectory() ? copyFolder(sftp, from, to) : copyFile(sftp, from, to));
  }
}

function copyFile(sftp: SFTPWrapper, source: string, target: string): Promise<void> {
  return done(`copy ${source} to ${target}`, (callback) => sftp.fastPut(source, target, callback));
}

async function makeFolders(sftp: SFTPWrapper, path: string): Promise<void> {
  if (path !== "/" && path !== "." && (await remoteStat(sftp, path)) === undefined) {
    await makeFolders(sftp, posix.dirname(path));
    await makeFolder(sftp, path);
  }
}

async function makeFolder(sftp: SFTPWrapper, path: string): Promise<void> {
  const existing = await remoteStat(sftp, path);
  if (existing !== undefined && !existing.isDirectory()) {
    throw new Error(`remote path ${path} exists but is not a directory`);
  }
  if (existing === undefined) {
    await done(`make ${path}`, (callback) => sftp.mkdir(path, callback));
  }
}

/** `undefined` when there is nothing at that path. */
function remoteStat(sftp: SFTPWrapper, path: string): Promise<Stats | undefined> {
  const noSuchFile = 2;
  return new Promise((resolve, reject) => {
    sftp.stat(path, (error, stats) => {
      if (error === undefined || error === null) {
        resolve(stats);
      } else if ((error as Error & { code?: number }).code === noSuchFile) {
        resolve(undefined);
      } else {
        reject(new Error(`cannot look at ${path} on the host: ${error.message}`));
      }
    });
  });
}

function done(what: string, start: (callback: (error?: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error ? reject(new Error(`cannot ${what} on the host: ${error.message}`)) : resolve()));
  });
}
