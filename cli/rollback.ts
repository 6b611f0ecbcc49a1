import { hostname, userInfo } from "node:os";
import { askServer } from "./ask-server.ts";

/** What `chillbox-site rollback` prints on the server. */
interface RollbackResult {
  readonly result: "rolled back" | "unchanged";
  readonly release: string;
  readonly from: string;
  readonly milliseconds: number;
  readonly switchMilliseconds: number;
}

/** Puts a kept release of a site back to use and says so. */
export async function rollBack(options: {
  stack: string;
  slug: string;
  release?: string;
  reason: string;
}): Promise<void> {
  const { stack, ...rest } = options;
  const input = { ...rest, by: `${userInfo().username}@${hostname()}` };
  const done = await askServer<RollbackResult>(stack, "doas chillbox-site rollback", input);
  process.stdout.write(`${describe(options.slug, done)}\n`);
}

function describe(slug: string, done: RollbackResult): string {
  if (done.result === "unchanged") return `${slug} has ${done.release} in use already.`;
  return [
    `${slug} is back at ${done.release}: visitors got it after ${done.switchMilliseconds} ms, all was done after ${done.milliseconds} ms.`,
    `\`up\` leaves it so while the site's release is ${done.from}; another release ends that.`,
  ].join("\n");
}
