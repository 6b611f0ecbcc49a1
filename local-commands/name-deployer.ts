/**
 * Tells who deploys, as `user@host`. Input is what is deployed, any JSON object, so that it is asked anew for something else; output
 * `{"by": "me@laptop"}`.
 */
import { hostname, userInfo } from "node:os";
import { runCommand } from "./command.ts";

await runCommand(async () => ({ by: `${userName()}@${hostname()}` }));

/** A number may have no name, such as in a container. */
function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.());
  }
}
