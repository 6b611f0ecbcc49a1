import { type ClientRequest, type IncomingHttpHeaders, type RequestOptions, request } from "node:http";
import { request as requestTls } from "node:https";

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/**
 * A request to an address under `.localhost`, which is loopback to browsers and curl (RFC 6761, section 6.3) but a name like any other to Node's
 * resolver on most Linux systems.
 * @param options.ca PEM of the gateway's root; without it, its certificate is not looked at
 */
export function ask(url: URL, { ca, headers, ...options }: RequestOptions & { ca?: string }): ClientRequest {
  const all = {
    host: "127.0.0.1",
    port: url.port,
    path: url.pathname + url.search,
    headers: { host: url.host, ...headers } as IncomingHttpHeaders,
    ...options,
  };
  if (url.protocol === "http:") return request(all);
  return requestTls({
    ...all,
    agent: false,
    servername: url.hostname,
    ...(ca ? { ca } : { rejectUnauthorized: false }),
  });
}

/** Where a site that has its certificate by now sends whoever comes by http. */
export function secureAddress(status: number | undefined, headers: IncomingHttpHeaders, from: URL): string | undefined {
  const { location } = headers;
  const isSame = location?.startsWith("https:") && new URL(location).hostname === from.hostname;
  return status === 301 && from.protocol === "http:" && isSame ? location : undefined;
}

/**
 * GET, or another method; a site that has its certificate by now is asked by https.
 * @param ca see `ask`
 */
export function get(address: string, method = "GET", ca?: string): Promise<Answer> {
  const url = new URL(address);
  return new Promise((resolve, reject) => {
    const outgoing = ask(url, { method, timeout: 30_000, ...(ca ? { ca } : {}) });
    outgoing.on("response", (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", reject);
      incoming.on("end", () => {
        const { statusCode: status = 0, headers } = incoming;
        const secure = secureAddress(status, headers, url);
        resolve(secure ? get(secure, method, ca) : { status, headers, text: Buffer.concat(chunks).toString() });
      });
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`${address} did not answer within 30 s`)));
    outgoing.on("error", reject);
    outgoing.end();
  });
}
