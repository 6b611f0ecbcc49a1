import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer, type Server, type Socket } from "node:net";
import { UserError } from "../../lib/user-error.ts";
import { acmeName } from "../acme/names.ts";
import type { Zones } from "../types.ts";
import { answerDns } from "./dns-answer.ts";

/** A DNS server for the zones of the local cloud and the names of its Spaces. */
export interface DnsServer {
  /**
   * Answers on one more address, over UDP and TCP.
   * @returns the port, which is a free one when `port` is 0.
   * @throws UserError when the port is taken.
   */
  listen(address: string, port: number): Promise<number>;
  close(): Promise<void>;
}

export interface DnsOptions {
  readonly zones: Zones;
  /** Everything below this name is at `hostAddress`. Default: `spaces.test`. */
  readonly spacesSuffix?: string;
  /** Other names that are at `hostAddress`. Default: the ACME server's. */
  readonly hostNames?: readonly string[];
  /** Address of Spaces as droplets see it. */
  readonly hostAddress: string;
  readonly log: (line: string) => void;
}

/** No query that this server understands is longer; a client that says so is cut off. */
const maxTcpQuery = 4096;
const tcpIdleMs = 10_000;
const maxTcpConnections = 64;

/** DNS by UDP and TCP for droplets: the zones' records, and Spaces' names at the laptop's address. It listens once told to. */
export function createDnsServer(options: DnsOptions): DnsServer {
  const names = {
    zones: options.zones,
    spacesSuffix: options.spacesSuffix ?? "spaces.test",
    hostNames: options.hostNames ?? [acmeName],
    hostAddress: options.hostAddress,
  };
  const closers: (() => Promise<void>)[] = [];
  const open = new Set<Socket>();
  // Whatever a packet does to us must not end the program.
  const answer = (query: Buffer, overTcp: boolean): Buffer | undefined => {
    try {
      return answerDns(names, query, overTcp);
    } catch (error) {
      options.log(`dns: ${String(error)}`);
      return undefined;
    }
  };
  return {
    async listen(address, port) {
      const tcp = createServer((socket) => {
        open.add(socket);
        socket.on("close", () => open.delete(socket));
        serveTcp(socket, (query) => answer(query, true));
      });
      tcp.maxConnections = maxTcpConnections;
      const chosen = await listenTcp(tcp, address, port);
      closers.push(() => new Promise((resolve) => void tcp.close(() => resolve())));
      const udp = createSocket(address.includes(":") ? "udp6" : "udp4");
      udp.on("message", (query, from) => {
        const reply = answer(query, false);
        if (reply !== undefined) udp.send(reply, from.port, from.address, () => {});
      });
      await bindUdp(udp, address, chosen);
      closers.push(() => new Promise((resolve) => void udp.close(() => resolve())));
      return chosen;
    },
    async close() {
      for (const socket of open) socket.destroy();
      await Promise.all(closers.splice(0).map((close) => close()));
    },
  };
}

/** Reads length-prefixed queries, of which a connection may carry several. */
function serveTcp(socket: Socket, answer: (query: Buffer) => Buffer | undefined): void {
  let waiting = Buffer.alloc(0);
  socket.on("error", () => socket.destroy());
  socket.setTimeout(tcpIdleMs, () => socket.destroy());
  socket.on("data", (data) => {
    waiting = Buffer.concat([waiting, data]);
    while (waiting.length >= 2) {
      const length = waiting.readUInt16BE(0);
      if (length > maxTcpQuery) {
        socket.destroy();
        return;
      }
      if (waiting.length < 2 + length) return;
      const reply = answer(waiting.subarray(2, 2 + length));
      waiting = waiting.subarray(2 + length);
      if (reply === undefined) {
        socket.destroy();
        return;
      }
      const prefix = Buffer.alloc(2);
      prefix.writeUInt16BE(reply.length);
      socket.write(Buffer.concat([prefix, reply]));
    }
  });
}

function listenTcp(server: Server, address: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(portError(error, address, port)));
    server.listen(port, address, () => {
      const bound = server.address();
      resolve(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}

function bindUdp(socket: UdpSocket, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("error", (error) => reject(portError(error, address, port)));
    socket.bind(port, address, () => {
      socket.on("error", () => {});
      resolve();
    });
  });
}

function portError(error: NodeJS.ErrnoException, address: string, port: number): UserError {
  const why = error.code === "EADDRINUSE" ? "is taken" : `cannot be used (${error.code})`;
  return new UserError(`DNS port ${port} on ${address} ${why}: stop what uses it, or set CHILLBOX_PORT_BASE.`);
}
