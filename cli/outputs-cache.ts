import { createCipheriv, createDecipheriv, createHash, hkdfSync, randomBytes } from "node:crypto";
import { lstat, mkdir, open, readFile, rename, rm, rmdir, statfs } from "node:fs/promises";
import { join } from "node:path";

/**
 * Asking Pulumi for a stack's outputs takes more than half a second: its engine starts, and the passphrase is hashed a million times. What it
 * said is kept until the state changes, in the person's own memory-backed folder, encrypted with a key that follows from the passphrase file:
 * who reads it has read that file, or cannot read it.
 */

/** Whose outputs they are. */
export interface OutputsOf {
  /** Absolute path of the stack's state; without such a file nothing is kept. */
  readonly stateFile: string;
  /** Absolute path; `undefined` where the passphrase is not in a file: then nothing is kept either. */
  readonly passphraseFile: string | undefined;
}

/** `f_type` of memory-backed file systems: tmpfs, ramfs (linux/magic.h). */
const memoryBacked = [0x01021994, 0x858458f6];
const lengths = { salt: 32, iv: 12, tag: 16 };
const cipher = "aes-256-gcm";

/**
 * The outputs of a stack: as kept, or else as `ask` says, which is then kept.
 * @param folders where they may lie, the first good one counts; default: see `privateFolders`
 */
export async function cachedOutputs(
  of: OutputsOf,
  ask: () => Promise<string>,
  folders: readonly string[] = privateFolders(),
): Promise<string> {
  const folder = await firstPrivate(folders);
  const before = await fingerprint(of);
  if (folder === undefined || before === undefined) return ask();
  const file = join(folder, fileName(of));
  const kept = await recall(file, before);
  if (kept !== undefined) return kept;
  const said = await ask();
  // A state that changed meanwhile may have been asked before or after that.
  const after = await fingerprint(of);
  if (after?.state.equals(before.state)) await keep(file, before, said);
  return said;
}

/** Forgets what is kept of a stack; a folder that is empty then goes, too. */
export async function forgetOutputs(of: OutputsOf, folders: readonly string[] = privateFolders()): Promise<void> {
  for (const folder of folders) {
    if (!(await isPrivate(folder))) continue;
    await rm(join(folder, fileName(of)), { force: true });
    await rmdir(folder).catch(() => undefined);
  }
}

/** The folder of the person's session, which the system makes on tmpfs; else one below /dev/shm, which is for everybody. */
export function privateFolders(environment: NodeJS.ProcessEnv = process.env): string[] {
  const { XDG_RUNTIME_DIR: runtime } = environment;
  const own = join("/dev/shm", `chillbox-${process.getuid?.()}`);
  return runtime?.startsWith("/") ? [join(runtime, "chillbox"), own] : [own];
}

/** Makes the folders that are missing, as far as that is possible. */
async function firstPrivate(folders: readonly string[]): Promise<string | undefined> {
  for (const folder of folders) {
    await mkdir(folder, { mode: 0o700 }).catch(() => undefined);
    if (await isPrivate(folder)) return folder;
  }
  return undefined;
}

/** A real folder in memory that is this user's and that nobody else can look into: in /dev/shm anybody may have made it first. */
async function isPrivate(folder: string): Promise<boolean> {
  try {
    const info = await lstat(folder);
    const isOwn = info.isDirectory() && info.uid === process.getuid?.() && (info.mode & 0o077) === 0;
    return isOwn && memoryBacked.includes((await statfs(folder)).type);
  } catch {
    return false;
  }
}

function fileName({ stateFile }: OutputsOf): string {
  return `outputs-${createHash("sha256").update(stateFile).digest("hex").slice(0, 32)}`;
}

/** What decides whether kept outputs are good, and the secret that opens them. */
interface Fingerprint {
  /** SHA-256 of the state. */
  readonly state: Buffer;
  readonly passphrase: Buffer;
}

async function fingerprint({ stateFile, passphraseFile }: OutputsOf): Promise<Fingerprint | undefined> {
  if (passphraseFile === undefined) return undefined;
  try {
    // A pipe can be read once only, and that once is Pulumi's.
    if (!(await lstat(passphraseFile)).isFile()) return undefined;
    const [state, passphrase] = await Promise.all([readFile(stateFile), readFile(passphraseFile)]);
    if (passphrase.toString().trim() === "") return undefined;
    return { state: createHash("sha256").update(state).digest(), passphrase };
  } catch {
    return undefined;
  }
}

function keyFrom({ passphrase }: Fingerprint, salt: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", passphrase, salt, "chillbox stack outputs 1", 32));
}

/** `undefined` for what is not there, was written for another state or under another passphrase, or was tampered with. */
async function recall(file: string, now: Fingerprint): Promise<string | undefined> {
  try {
    const content = await readFile(file);
    const [salt, iv, tag, sealed] = split(content);
    const decipher = createDecipheriv(cipher, keyFrom(now, salt), iv, { authTagLength: lengths.tag });
    decipher.setAAD(now.state).setAuthTag(tag);
    return Buffer.concat([decipher.update(sealed), decipher.final()]).toString();
  } catch {
    return undefined;
  }
}

function split(content: Buffer): [salt: Buffer, iv: Buffer, tag: Buffer, sealed: Buffer] {
  const [iv, tag, sealed] = [lengths.salt, lengths.salt + lengths.iv, lengths.salt + lengths.iv + lengths.tag];
  return [content.subarray(0, iv), content.subarray(iv, tag), content.subarray(tag, sealed), content.subarray(sealed)];
}

async function keep(file: string, now: Fingerprint, said: string): Promise<void> {
  const [salt, iv] = [randomBytes(lengths.salt), randomBytes(lengths.iv)];
  const sealing = createCipheriv(cipher, keyFrom(now, salt), iv, { authTagLength: lengths.tag }).setAAD(now.state);
  const sealed = Buffer.concat([sealing.update(said), sealing.final()]);
  const temporary = `${file}.${randomBytes(4).toString("hex")}`;
  try {
    const handle = await open(temporary, "wx", 0o600);
    try {
      await handle.writeFile(Buffer.concat([salt, iv, sealing.getAuthTag(), sealed]));
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch {
    // It is asked anew the next time.
    await rm(temporary, { force: true }).catch(() => undefined);
  }
}
