import { endWithReader, execute, openServer } from "./connection.ts";
import { plainText } from "./table.ts";

export interface LogsRequest {
  readonly stack: string;
  /** Slug and service have been checked: they need no quotes. */
  readonly slug: string;
  readonly service?: string;
  readonly lines: number;
  readonly follow?: boolean;
}

/** Prints the logs of a site; on a terminal without what it would take for commands. Returns the exit code of the server's command. */
export async function printLogs({ stack, slug, service, lines, follow }: LogsRequest): Promise<number> {
  const client = await openServer(stack);
  const words = ["doas chillbox-logs", ...(follow ? ["-f"] : []), `-n ${lines}`, slug, ...(service ? [service] : [])];
  endWithReader();
  try {
    const { channel, ended } = await execute(client, words.join(" "));
    // Following ends with the command's input: when this process ends, however it ends.
    if (!follow) channel.end();
    const show = process.stdout.isTTY ? plainText : (text: string) => text;
    channel.setEncoding("utf8").on("data", (text: string) => process.stdout.write(show(text)));
    channel.stderr.setEncoding("utf8").on("data", (text: string) => process.stderr.write(show(text)));
    return await ended;
  } finally {
    client.end();
  }
}
