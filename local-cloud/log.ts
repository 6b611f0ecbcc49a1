import { format } from "node:util";
import type { FastifyBaseLogger } from "fastify";

/** Writes one line with the time in front, to standard output, which is the local cloud's log. */
export function log(line: string): void {
  process.stdout.write(`${new Date().toISOString()} ${line}\n`);
}

/** Fastify's logger in the same form; what is only of use when Fastify itself is at fault is left out. */
export function serverLog(part: string): FastifyBaseLogger {
  const write = (...items: unknown[]) => log(`${part}: ${describe(items)}`);
  const nothing = () => {};
  const logger = {
    level: "info",
    fatal: write,
    error: write,
    warn: write,
    info: write,
    debug: nothing,
    trace: nothing,
    silent: nothing,
    child: () => logger,
  } as unknown as FastifyBaseLogger;
  return logger;
}

/** As pino has it: an object or error first, then a text with its arguments. */
function describe([first, ...rest]: readonly unknown[]): string {
  if (typeof first === "string") {
    return format(first, ...rest);
  }
  const detail = first instanceof Error ? (first.stack ?? first.message) : format(first);
  return rest.length > 0 ? `${format(...rest)}: ${detail}` : detail;
}
