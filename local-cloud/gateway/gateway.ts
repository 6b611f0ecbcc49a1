import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import { BlockList, type Socket } from "node:net";
import { createSecureContext, type SecureContext } from "node:tls";
import { createProxyServer } from "httpxy";
import { UserError } from "../../lib/user-error.ts";
import type { Authority } from "../acme/authority.ts";
import type { Zones } from "../types.ts";
import { domainsPage, unknownDomainPage, unreachablePage } from "./pages.ts";
import { resolve } from "./resolve.ts";

/** The way from a browser on this computer to the droplets: `http://<domain>.localhost:<port>`, and by https on a port of its own. */
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
  /** Default: no https. */
  readonly tls?: GatewayTls;
  /** Droplets' addresses, in CIDR notation: nothing else is ever connected to. */
  readonly addressRange: string;
  /** Port on which droplets serve. Default: 80. */
  readonly dropletPort?: number;
  /** Default: 443. */
  readonly dropletTlsPort?: number;
  readonly log: (line: string) => void;
}

/** How the gateway serves https, and by what it knows droplets there. */
export interface GatewayTls {
  readonly port: number;
  /** Issues the gateway's own certificates, for names below `localhost`. */
  readonly authority: Authority;
  /** Roots of the droplets' certificates, PEM. */
  readonly roots: () => Promise<string>;
}

/** What differs between the two ways. */
interface Way {
  readonly scheme: "http" | "https";
  /** Of droplets. */
  readonly port: number;
  readonly roots?: () => Promise<string>;
}

/** Ports of the gateway, for links and redirects. */
interface Ports {
  readonly http: number;
  readonly https: number | undefined;
}

const suffix = ".localhost";
const connectMs = 5000;
/** For names that do not exist there are certificates, too: they are made anew from here on. */
const mostCertificates = 500;

/** Passes requests for `<domain>.localhost` on to the droplet that the zones have for the domain. It listens once told to. */
export function createGateway(options: GatewayOptions): Gateway {
  const { zones, log } = options;
  const range = addressesOf(options.addressRange);
  const ports = { http: options.port, https: options.tls?.port };
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
    if (domain !== undefined) mapBack(answer, zones, ports);
  });

  const answer = async (request: IncomingMessage, response: ServerResponse, way: Way) => {
    const domain = domainOfRequest(request);
    if (domain === undefined) {
      sendPage(response, isLocal(request.headers.host) ? 200 : 404, startPage(request, known(), ports.http));
      return;
    }
    const address = dropletOf(zones, range, domain);
    if (address === undefined) {
      sendPage(response, 404, unknownDomainPage(domain, known(), ports.http));
      return;
    }
    forward(request, domain, way);
    try {
      await proxy.web(request, response, await targetOf(address, way));
    } catch (error) {
      log(`gateway: ${domain} (${address}): ${codeOf(error)}`);
      if (response.headersSent || response.destroyed) response.destroy();
      else sendPage(response, 502, unreachablePage(domain, address, way.port, reasonOf(error)));
    }
  };
  const upgrade = async (request: IncomingMessage, socket: Socket, head: Buffer, way: Way) => {
    const domain = domainOfRequest(request);
    const address = domain === undefined ? undefined : dropletOf(zones, range, domain);
    socket.on("error", () => socket.destroy());
    if (domain === undefined || address === undefined) {
      socket.end("HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    forward(request, domain, way);
    try {
      await proxy.ws(request, socket, await targetOf(address, way), head);
    } catch (error) {
      log(`gateway: ${domain} (${address}): ${codeOf(error)}`);
      if (socket.writable) socket.end("HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    }
  };
  const serve = <S extends Server | TlsServer>(server: S, way: Way): S => {
    server.on("request", (request, response) => void answer(request, response, way));
    server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
      void upgrade(request, socket, head, way);
    });
    server.on("connect", (_request: IncomingMessage, socket: Socket) => {
      socket.on("error", () => socket.destroy());
      socket.end("HTTP/1.1 405 Method Not Allowed\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    });
    return server;
  };

  const limits = { requestTimeout: 0, headersTimeout: 30_000 };
  const { tls } = options;
  const plain = serve(createServer(limits), { scheme: "http", port: options.dropletPort ?? 80 });
  const secure =
    tls &&
    serve(createTlsServer({ ...limits, SNICallback: certificates(tls.authority) }), {
      scheme: "https",
      port: options.dropletTlsPort ?? 443,
      roots: tls.roots,
    });
  return {
    async start() {
      ports.http = await listening(plain, ports.http);
      if (secure) ports.https = await listening(secure, ports.https ?? 0);
      return ports.http;
    },
    async stop() {
      await Promise.all([plain, secure].map((server) => server && closed(server)));
    },
  };
}

/** Certificates by the name that a browser asks for, made when it first does. */
function certificates(
  authority: Authority,
): (name: string, done: (error: Error | null, context?: SecureContext) => void) => void {
  const made = new Map<string, Promise<SecureContext>>();
  return (name, done) => {
    const known = name.toLowerCase();
    if (known !== "localhost" && !/^[a-z0-9.-]+\.localhost$/.test(known)) return done(new Error("not a name of ours"));
    let context = made.get(known);
    if (context === undefined) {
      if (made.size >= mostCertificates) made.clear();
      context = authority
        .issue([known])
        .then(({ key, certificate }) => createSecureContext({ key, cert: certificate }));
      context.catch(() => made.delete(known));
      made.set(known, context);
    }
    context.then(
      (ready) => done(null, ready),
      (error) => done(error),
    );
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
function forward(request: IncomingMessage, domain: string, { scheme }: Way): void {
  const host = originalHost(request);
  hosts.set(request, host);
  for (const name of Object.keys(request.headers))
    if (/^(x-forwarded-|forwarded$|x-real-ip$)/.test(name)) delete request.headers[name];
  request.headers.host = domain;
  request.headers["x-forwarded-for"] = request.socket.remoteAddress ?? "127.0.0.1";
  request.headers["x-forwarded-host"] = host;
  request.headers["x-forwarded-proto"] = scheme;
}

/** Redirects to our domains and cookies for them must work in the browser, where they end in `.localhost`. */
function mapBack(answer: IncomingMessage, zones: Zones, ports: Ports): void {
  const { location, "set-cookie": cookies } = answer.headers;
  if (location !== undefined) answer.headers.location = mapLocation(location, zones, ports.http, ports.https);
  // Kept for a name, it would be meant for both ports, of which one has no https.
  delete answer.headers["strict-transport-security"];
  if (cookies !== undefined) {
    answer.headers["set-cookie"] = cookies.map((cookie) =>
      cookie.replace(/(;\s*domain=)\.?([^;]+)/i, (whole, start: string, domain: string) =>
        zones.holds(domain.trim()) ? `${start}${domain.trim()}${suffix}` : whole,
      ),
    );
  }
}

/** Maps `http://<our domain>/...` and `https://<our domain>/...` to the gateway's ports; everything else stays. */
export function mapLocation(location: string, zones: Zones, port: number, tlsPort?: number): string {
  const [, scheme = "http:", domain = "", named, rest = ""] =
    /^(https?:)?\/\/([a-z0-9._-]+)(?::(80|443))?([/?#].*)?$/i.exec(location) ?? [];
  const secure = scheme.toLowerCase() === "https:";
  const mapped = secure ? tlsPort : port;
  if (domain === "" || mapped === undefined || (named !== undefined && secure !== (named === "443"))) return location;
  return zones.holds(domain.toLowerCase())
    ? `${secure ? "https" : "http"}://${domain}${suffix}:${mapped}${rest}`
    : location;
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

/** The droplet is known by the name that the Host header says, and by the roots alone. */
async function targetOf(address: string, { scheme, port, roots }: Way): Promise<{ target: string; ca?: string }> {
  return { target: `${scheme}://${address}:${port}`, ...(roots && { ca: await roots() }) };
}

function codeOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

function reasonOf(error: unknown): string {
  const reasons: Record<string, string> = {
    ECONNREFUSED: "nothing listens there",
    EHOSTUNREACH: "there is no such host",
    ENETUNREACH: "its network is not there",
    ETIMEDOUT: "it does not answer within 5 seconds",
    ECONNRESET: "it closed the connection",
  };
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (/CERT|SELF_SIGNED|ALTNAME|VERIFY/.test(code)) return `its certificate is not good: ${message}`;
  if (/^ERR_SSL|^EPROTO/.test(code)) return "it has no certificate for this name; npx chillbox status tells why";
  return reasons[code] ?? "the connection failed";
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

function closed(server: Server | TlsServer): Promise<void> {
  return new Promise((done) => {
    server.close(() => done());
    server.closeAllConnections();
  });
}

function listening(server: Server | TlsServer, port: number): Promise<number> {
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
