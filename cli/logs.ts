import { once } from "node:events";
import { endWithReader, openServer } from "./connection.ts";
import { plainText } from "./table.ts";

export interface LogsRequest {
  readonly stack: string;
  /** Slug and service have been checked: they need no quotes. */
  readonly slug: string;
  readonly service?: string;
  /** Default: 100, or with since all. */
  readonly lines?: number;
  /** As readSince gives it: it needs no quotes either. */
  readonly since?: string;
  readonly follow?: boolean;
}

/** Prints the logs of a site; on a terminal without what it would take for commands. Returns the exit code of the server's command. */
export async function printLogs(request: LogsRequest): Promise<number> {
  const server = await openServer(request.stack);
  endWithReader();
  try {
    const child = server.start(commandFor(request));
    // Following ends with the command's input: when this process ends, however it ends.
    if (!request.follow) child.stdin.end();
    const show = process.stdout.isTTY ? plainText : (text: string) => text;
    child.stdout.setEncoding("utf8").on("data", (text: string) => process.stdout.write(show(text)));
    child.stderr.setEncoding("utf8").on("data", (text: string) => process.stderr.write(show(text)));
    const [code] = await once(child, "close");
    return code ?? 255;
  } finally {
    server.end();
  }
}

/** The server's command, as its shell reads it. */
export function commandFor({ slug, service, lines, since, follow }: LogsRequest): string {
  const options = [
    ...(follow ? ["-f"] : []),
    ...(lines === undefined ? [] : [`-n ${lines}`]),
    ...(since === undefined ? [] : [`--since ${since}`]),
  ];
  return ["doas chillbox-logs", ...options, slug, ...(service ? [service] : [])].join(" ");
}
