import http from "node:http";
import https from "node:https";
import { setTimeout as sleep } from "node:timers/promises";

const maxRedirects = 5;
const idleMs = 60_000;
const attempts = 5;

/** Why an image cannot be imported: shown to the person as the image's `error_message`. */
export class ImportError extends Error {
  override readonly name = "ImportError";
}

export interface FetchOptions {
  /** Proxy for names under `.test`, e.g. `http://127.0.0.1:8082`. */
  readonly spacesProxy: string;
  readonly signal: AbortSignal;
}

const fileName = /^[^/]+\.(img|raw|qcow2)(\.gz|\.bz2)?$/i;

/**
 * Checks an image's address by DigitalOcean's rules: http or https, no query, ends in a file name with an extension that can be imported.
 * @throws ImportError
 */
export function checkImageUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new ImportError("The URL must begin with http:// or https://.");
  }
  if (text.includes("?")) throw new ImportError("The URL must end in the file's name: a query string is not possible.");
  if (!fileName.test(url.pathname.split("/").at(-1) ?? "")) {
    throw new ImportError("The URL must end in .img, .raw or .qcow2, with .gz or .bz2 after it if it is compressed.");
  }
  return url;
}

/**
 * Asks for the image with HEAD, then with GET, as DigitalOcean does; redirects are followed.
 * @returns the body of the GET.
 * @throws ImportError when either is refused or nobody answers.
 */
export async function fetchImage(url: URL, options: FetchOptions): Promise<http.IncomingMessage> {
  const head = await follow("HEAD", url, options);
  head.response.resume();
  return (await follow("GET", head.url, options)).response;
}

async function follow(method: "HEAD" | "GET", start: URL, options: FetchOptions) {
  let url = start;
  for (let hop = 0; hop <= maxRedirects; hop += 1) {
    const response = await send(method, url, options);
    const status = response.statusCode ?? 0;
    const { location } = response.headers;
    if (status === 200) return { url, response };
    response.destroy();
    if (status < 300 || status > 399 || location === undefined) {
      throw new ImportError(`${method} ${url.origin}${url.pathname} was answered with status ${status}.`);
    }
    if (!URL.canParse(location, url.href)) throw new ImportError("The URL redirects to an address that is not valid.");
    url = new URL(location, url);
    if (url.protocol !== "http:" && url.protocol !== "https:") {
      throw new ImportError("The URL redirects to an address that is neither http nor https.");
    }
  }
  throw new ImportError(`The URL redirects more than ${maxRedirects} times.`);
}

/** After a start of the local cloud the proxy may need a moment. */
async function send(method: string, url: URL, options: FetchOptions): Promise<http.IncomingMessage> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await sendOnce(method, url, options);
    } catch (error) {
      options.signal.throwIfAborted();
      const code = (error as NodeJS.ErrnoException).code ?? String(error);
      if (attempt === attempts || code !== "ECONNREFUSED") {
        throw new ImportError(`${url.origin} could not be reached (${code}).`);
      }
      await sleep(300 * attempt, undefined, { signal: options.signal });
    }
  }
}

function sendOnce(method: string, url: URL, { spacesProxy, signal }: FetchOptions): Promise<http.IncomingMessage> {
  const isLocal = url.hostname === "test" || url.hostname.endsWith(".test");
  if (isLocal && url.protocol === "https:") throw new ImportError("Names under .test are served by http only.");
  const headers = { host: url.host, accept: "*/*", "user-agent": "chillbox-image-import" };
  const common = { method, headers, signal, timeout: idleMs, agent: false } as const;
  return new Promise((resolve, reject) => {
    const request = isLocal
      ? http.request(spacesProxy, { ...common, path: url.href })
      : (url.protocol === "https:" ? https : http).request(url, common);
    request.once("response", resolve);
    request.on("error", reject);
    request.on("timeout", () => request.destroy(Object.assign(new Error("no answer"), { code: "ETIMEDOUT" })));
    request.end();
  });
}
