import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { BlockList, type Socket } from "node:net";
import { createProxyServer } from "httpxy";
import { UserError } from "../../lib/user-error.ts";
import type { Zones } from "../types.ts";
import { domainsPage, unknownDomainPage, unreachablePage } from "./pages.ts";
import { resolve } from "./resolve.ts";

/** The way from a browser on this computer to the droplets: `http://<domain>.localhost:<port>`. */
export interface Gateway {
  /**
   * Listens on 127.0.0.1.
   * @returns the port, which is a free one when `port` was 0.
   * @throws UserError when the port is taken.
   */
  start(): Promise<number>;
  stop(): Promise<void>;
}

export interface GatewayOptions {
  readonly zones: Zones;
  readonly port: number;
  /** Droplets' addresses, in CIDR notation: nothing else is ever connected to. */
  readonly addressRange: string;
  /** Port on which droplets serve. Default: 80. */
  readonly dropletPort?: number;
  readonly log: (line: string) => void;
}

const suffix = ".localhost";
const connectMs = 5000;

/** Passes requests for `<domain>.localhost` on to the droplet that the zones have for the domain. It listens once told to. */
export function createGateway(options: GatewayOptions): Gateway {
  const { zones, log } = options;
  const range = addressesOf(options.addressRange);
  let port = options.port;
  const known = () =>
    zones
      .names()
      .filter((name) => !name.startsWith("*.") && dropletOf(zones, range, name) !== undefined)
      .sort();
  // Connections are not kept: a droplet's address may be another droplet's a moment later.
  const proxy = createProxyServer({ agent: false, proxyTimeout: 0, upgradeTimeout: 30_000 });
  proxy.on("proxyReq", limitConnecting);
  proxy.on("proxyReqWs", limitConnecting);
  proxy.on("proxyRes", (answer, request) => {
    const domain = domainOfRequest(request);
    if (domain !== undefined) mapBack(answer, zones, port);
  });

  const server = createServer({ requestTimeout: 0, headersTimeout: 30_000 }, (request, response) => {
    const domain = domainOfRequest(request);
    if (domain === undefined) {
      sendPage(response, isLocal(request.headers.host) ? 200 : 404, startPage(request, known(), port));
      return;
    }
    const address = dropletOf(zones, range, domain);
    if (address === undefined) {
      sendPage(response, 404, unknownDomainPage(domain, known(), port));
      return;
    }
    forward(request, domain);
    proxy
      .web(request, response, { target: targetOf(address, options.dropletPort) })
      .catch((error: NodeJS.ErrnoException) => {
        log(`gateway: ${domain} (${address}): ${error.code ?? error.message}`);
        if (response.headersSent || response.destroyed) response.destroy();
        else sendPage(response, 502, unreachablePage(domain, address, reasonOf(error)));
      });
  });
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const domain = domainOfRequest(request);
    const address = domain === undefined ? undefined : dropletOf(zones, range, domain);
    socket.on("error", () => socket.destroy());
    if (domain === undefined || address === undefined) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    forward(request, domain);
    proxy
      .ws(request, socket, { target: targetOf(address, options.dropletPort) }, head)
      .catch((error: NodeJS.ErrnoException) => {
        log(`gateway: ${domain} (${address}): ${error.code ?? error.message}`);
        if (socket.writable) socket.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      });
  });
  server.on("connect", (_request, socket: Socket) => {
    socket.on("error", () => socket.destroy());
    socket.end("HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
  });
  return {
    async start() {
      port = await listening(server, options.port);
      return port;
    },
    stop: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}

/** The droplet's address that a domain leads to, if it leads to one. */
function dropletOf(zones: Zones, range: BlockList, domain: string): string | undefined {
  return resolve(zones, domain, "A").answers.find((answer) => range.check(answer.data, "ipv4"))?.data;
}

/** `hello.test` of a request for `hello.test.localhost:8080`. Requests in absolute form (as to a proxy) have none. */
function domainOfRequest(request: IncomingMessage): string | undefined {
  const [, name = ""] = /^([a-z0-9._-]+)(?::\d{1,5})?$/i.exec(originalHost(request)) ?? [];
  const lower = name.toLowerCase().replace(/\.$/, "");
  const origin = request.url?.startsWith("/") || request.url === "*";
  return origin && lower.endsWith(suffix) && lower.length > suffix.length ? lower.slice(0, -suffix.length) : undefined;
}

const hosts = new WeakMap<IncomingMessage, string>();

function originalHost(request: IncomingMessage): string {
  return hosts.get(request) ?? request.headers.host ?? "";
}

/** What the droplet is told: the real domain, and where the request came from. What a client says about that is dropped. */
function forward(request: IncomingMessage, domain: string): void {
  const host = originalHost(request);
  hosts.set(request, host);
  for (const name of Object.keys(request.headers))
    if (/^(x-forwarded-|forwarded$|x-real-ip$)/.test(name)) delete request.headers[name];
  request.headers.host = domain;
  request.headers["x-forwarded-for"] = request.socket.remoteAddress ?? "127.0.0.1";
  request.headers["x-forwarded-host"] = host;
  request.headers["x-forwarded-proto"] = "http";
}

/** Redirects to our domains and cookies for them must work in the browser, where they end in `.localhost`. */
function mapBack(answer: IncomingMessage, zones: Zones, port: number): void {
  const { location, "set-cookie": cookies } = answer.headers;
  if (location !== undefined) answer.headers.location = mapLocation(location, zones, port);
  if (cookies !== undefined) {
    answer.headers["set-cookie"] = cookies.map((cookie) =>
      cookie.replace(/(;\s*domain=)\.?([^;]+)/i, (whole, start: string, domain: string) =>
        zones.holds(domain.trim()) ? `${start}${domain.trim()}${suffix}` : whole,
      ),
    );
  }
}

/** Maps `http://<our domain>/...` to the gateway; everything else, https included, stays. */
export function mapLocation(location: string, zones: Zones, port: number): string {
  const [, domain = "", rest = ""] = /^(?:http:)?\/\/([a-z0-9._-]+)(?::80)?([/?#].*)?$/i.exec(location) ?? [];
  return domain !== "" && zones.holds(domain.toLowerCase()) ? `http://${domain}${suffix}:${port}${rest}` : location;
}

function limitConnecting(outgoing: {
  readonly socket: Socket | null;
  once(event: "socket", listener: (socket: Socket) => void): unknown;
}): void {
  const limit = (socket: Socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })),
      connectMs,
    );
    for (const event of ["connect", "close"]) socket.once(event, () => clearTimeout(timer));
  };
  if (outgoing.socket) limit(outgoing.socket);
  else outgoing.once("socket", limit);
}

function startPage(request: IncomingMessage, known: readonly string[], port: number): string {
  return isLocal(request.headers.host)
    ? domainsPage(known, port)
    : unknownDomainPage(request.headers.host ?? "", known, port);
}

function isLocal(host: string | undefined): boolean {
  return /^(localhost|127\.0\.0\.1)(:\d{1,5})?$/i.test(host ?? "");
}

function targetOf(address: string, port = 80): string {
  return `http://${address}:${port}`;
}

function reasonOf(error: NodeJS.ErrnoException): string {
  const reasons: Record<string, string> = {
    ECONNREFUSED: "nothing listens there",
    EHOSTUNREACH: "there is no such host",
    ENETUNREACH: "its network is not there",
    ETIMEDOUT: "it does not answer within 5 seconds",
    ECONNRESET: "it closed the connection",
  };
  return reasons[error.code ?? ""] ?? "the connection failed";
}

function sendPage(response: ServerResponse, status: number, html: string): void {
  response.writeHead(status, { "content-type": "text/html; charset=utf-8", "cache-control": "no-store" }).end(html);
}

function addressesOf(cidr: string): BlockList {
  const [address = "", bits = ""] = cidr.split("/");
  const list = new BlockList();
  list.addSubnet(address, Number(bits), "ipv4");
  return list;
}

function listening(server: Server, port: number): Promise<number> {
  return new Promise((done, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const why = error.code === "EADDRINUSE" ? "is taken" : `cannot be used (${error.code})`;
      reject(new UserError(`Port ${port} on 127.0.0.1 ${why}: stop what uses it, or set CHILLBOX_PORT_BASE.`));
    });
    server.listen(port, "127.0.0.1", () => {
      const bound = server.address();
      done(typeof bound === "object" && bound !== null ? bound.port : port);
    });
  });
}
