import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

/**
 * `npx chillbox deploy` changes the server without Pulumi, whose state goes on telling of the release before. Whoever went back to that one
 * would see `up` change nothing, and the server keep the other. So each deploy leaves its time here, and `up` hands that on as part of its reason:
 * another reason is another input, and the server is asked once more, which costs nothing when it has what is wanted.
 */
function fileOf(home: string, stack: string, slug: string): string {
  return join(home, "deploys", stack, slug);
}

/** Notes that a site is about to be deployed without Pulumi. */
export async function noteDeploy(home: string, stack: string, slug: string, when: Date = new Date()): Promise<void> {
  const file = fileOf(home, stack, slug);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.${process.pid}`, `${when.toISOString()}\n`, { flush: true });
  await rename(`${file}.${process.pid}`, file);
}

/** Why `up` installs a site, for the log of deploys. */
export async function reasonOfUp(home: string, stack: string, slug: string): Promise<string> {
  const when = await readFile(fileOf(home, stack, slug), "utf8").catch(() => undefined);
  return when === undefined ? "pulumi up" : `pulumi up, after the deploy of ${when.trim()}`;
}
