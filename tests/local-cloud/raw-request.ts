import { type IncomingMessage, request } from "node:http";

export interface RawAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  /** `<Code>` of an S3 error. */
  readonly code: string | undefined;
}

/** Sends a request as it stands, without any normalising of its target. */
export function raw(
  port: number,
  options: {
    method?: string;
    path: string;
    host?: string;
    headers?: Record<string, string | string[]>;
    body?: string | Buffer;
  },
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1",
      port,
      method: options.method ?? "GET",
      path: options.path,
      setHost: false,
      agent: false,
      headers: { host: options.host ?? "nyc3.spaces.test", ...options.headers },
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", reject);
      response.on("end", () => {
        const text = Buffer.concat(parts).toString("utf8");
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          text,
          code: /<Code>(\w+)</.exec(text)?.[1],
        });
      });
    });
    sent.end(options.body);
  });
}
