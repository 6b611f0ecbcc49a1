import { mkdir, readdir } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";
import { UserError } from "../../lib/user-error.ts";
import type { SpacesKeys } from "../types.ts";
import { type Front, handleRequest } from "./front.ts";
import { SpacesStore } from "./store.ts";
import { startObjectStore } from "./versitygw.ts";

/** Slugs of the regions that have Spaces. Source: the provider's list, `digitalocean-contract.md` section 3. */
export const spacesRegions = [
  "nyc3",
  "ams3",
  "atl1",
  "blr1",
  "fra1",
  "lon1",
  "sfo2",
  "sfo3",
  "sgp1",
  "syd1",
  "tor1",
] as const;

/** The local Spaces. */
export interface Spaces {
  /** Answers one request; `listen` uses it. */
  handler(request: IncomingMessage, response: ServerResponse): void;
  /**
   * Listens on one more address, for S3 and as an HTTP proxy for the names of Spaces.
   * @returns the port, which is a free one when `port` is 0.
   * @throws UserError when the port is taken.
   */
  listen(address: string, port: number): Promise<number>;
  /** Process id of the object store, for `status`. */
  readonly pid: number | undefined;
  /** Closes every listener and ends the object store. Safe to repeat. */
  stop(): Promise<void>;
}

export interface SpacesOptions {
  /** Where buckets, objects and ACLs are kept: absolute path on a file system with extended attributes. Made if it is missing. */
  readonly folder: string;
  readonly keys: SpacesKeys;
  /** Regions that are served, each at `<region>.<suffix>`. Default: all that have Spaces. */
  readonly regions?: readonly string[];
  /** Default: `spaces.test`. */
  readonly suffix?: string;
  /** Absolute path of versitygw 1.8.0. */
  readonly versitygwPath: string;
  readonly log: (line: string) => void;
}

/**
 * Starts the local Spaces: versitygw, which nobody but this process can reach, and the front that makes it Spaces.
 * @throws UserError when the object store does not start.
 */
export async function startSpaces(options: SpacesOptions): Promise<Spaces> {
  const { folder, keys, log, versitygwPath } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const store = new SpacesStore(join(folder, "spaces.sqlite"));
  const upstream = await startObjectStore({ folder, versitygwPath, log }).catch((error: unknown) => {
    store.end();
    throw error;
  });
  // A deletion that was killed half-way: the data is gone, its record is not.
  const present = new Set(await readdir(join(folder, "data")));
  for (const { name } of store.buckets()) if (!present.has(name)) store.removeBucket(name);

  const front: Front = {
    upstream,
    store,
    keys,
    log,
    regions: options.regions ?? spacesRegions,
    suffix: options.suffix ?? "spaces.test",
  };
  const servers: Server[] = [];
  let stopped: Promise<void> | undefined;
  const handler = (request: IncomingMessage, response: ServerResponse) => void handleRequest(front, request, response);
  return {
    handler,
    get pid() {
      return upstream.pid;
    },
    async listen(address, port) {
      const server = createServer(
        { requestTimeout: 3_600_000, headersTimeout: 30_000, keepAliveTimeout: 75_000 },
        handler,
      );
      server.on("checkContinue", (request, response) => {
        void handleRequest(front, request, response, () => response.writeContinue());
      });
      server.on("connect", (_request, socket) => {
        const text = "This proxy speaks plain HTTP only; CONNECT is refused.\n";
        socket.on("error", () => {});
        socket.end(
          `HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
        );
      });
      await listening(server, address, port);
      servers.push(server);
      const bound = server.address();
      return typeof bound === "object" && bound !== null ? bound.port : port;
    },
    stop() {
      stopped ??= (async () => {
        for (const server of servers.splice(0)) {
          server.close();
          server.closeAllConnections();
        }
        await upstream.stop();
        store.end();
      })();
      return stopped;
    },
  };
}

function listening(server: Server, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "is taken" : `cannot be used (${error.code})`;
      reject(new UserError(`Port ${port} on ${address} ${why}: stop what uses it, or set CHILLBOX_PORT_BASE.`));
    });
    server.listen(port, address, resolve);
  });
}
