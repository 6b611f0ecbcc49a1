import { Agent, request as httpRequest, type IncomingMessage } from "node:http";
import { text as readText } from "node:stream/consumers";
import { setTimeout as sleep } from "node:timers/promises";
import type { ProviderSettings } from "./settings.ts";

/** A JSON object out of an answer of the API; the contract says what is in it. */
// biome-ignore lint/suspicious/noExplicitAny: the API's answers are read field by field, as the official client does
export type Json = any;

/** Calls of the public API. Each returns the decoded body, or throws `ApiError`. */
export interface Api {
  get(path: string): Promise<Json>;
  post(path: string, body: Json): Promise<Json>;
  put(path: string, body: Json): Promise<Json>;
  patch(path: string, body: Json): Promise<Json>;
  /** Some resources take a body with DELETE. */
  delete(path: string, body?: Json): Promise<Json>;
}

/** An answer that is not a success. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  readonly status: number;

  constructor(message: string, status: number) {
    super(message);
    this.status = status;
  }
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}

/**
 * A client of the API. Calls that are answered with 429 or 5xx (but not 501), or not at all, are tried again with growing waits;
 * POSTs too, as the official client does.
 */
export function createApi(settings: ProviderSettings): Api {
  const agent = new Agent({ keepAlive: true });
  const takeTurn = rateLimiter(settings.requestsPerSecond);
  const call = async (method: string, path: string, body?: Json): Promise<Json> => {
    for (let tries = 0; ; tries += 1) {
      await takeTurn();
      const outcome = await send(settings, agent, method, path, body).catch((error: Error) => error);
      if (tries < settings.httpRetryMax && isWorthAnotherTry(outcome)) {
        await sleep(retryDelay(settings, tries, outcome));
      } else if (outcome instanceof Error) {
        throw new Error(`${method} ${settings.apiEndpoint}${path}: ${reasonOf(outcome)} (is the local cloud running?)`);
      } else {
        return decode(settings, method, path, outcome);
      }
    }
  };
  return {
    get: (path) => call("GET", path),
    post: (path, body) => call("POST", path, body),
    put: (path, body) => call("PUT", path, body),
    patch: (path, body) => call("PATCH", path, body),
    delete: (path, body) => call("DELETE", path, body),
  };
}

async function send(
  settings: ProviderSettings,
  agent: Agent,
  method: string,
  path: string,
  body: Json,
): Promise<Answer> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  const headers: Record<string, string | number> = {
    accept: "application/json",
    authorization: `Bearer ${settings.token}`,
    "user-agent": "chillbox-stand-in/1 godo/1.201.0",
    ...(method === "GET" ? {} : { "content-type": "application/json" }),
    ...(payload === undefined ? {} : { "content-length": Buffer.byteLength(payload) }),
  };
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest(new URL(path, settings.apiEndpoint), { method, headers, agent }, resolve);
    request.once("error", reject);
    request.end(payload);
  });
  return { status: response.statusCode ?? 0, headers: response.headers, body: await readText(response) };
}

function isWorthAnotherTry(outcome: Answer | Error): boolean {
  if (outcome instanceof Error) {
    return true;
  }
  return outcome.status === 429 || (outcome.status >= 500 && outcome.status !== 501);
}

/** Milliseconds to wait: what `Retry-After` says on 429 and 503, else twice as long each time. */
function retryDelay(settings: ProviderSettings, tries: number, outcome: Answer | Error): number {
  const { httpRetryWaitMin, httpRetryWaitMax } = settings;
  if (!(outcome instanceof Error) && (outcome.status === 429 || outcome.status === 503)) {
    const seconds = Number(outcome.headers["retry-after"]);
    if (Number.isFinite(seconds)) {
      return seconds * 1000;
    }
  }
  return Math.min(httpRetryWaitMin * 2 ** tries, httpRetryWaitMax) * 1000;
}

function decode(settings: ProviderSettings, method: string, path: string, { status, headers, body }: Answer): Json {
  if (status >= 200 && status < 300) {
    return body === "" ? {} : JSON.parse(body);
  }
  const { message, request_id: requestId } = parseError(body);
  const id = requestId ?? headers["x-request-id"];
  const request = id === undefined ? "" : ` (request "${id}")`;
  throw new ApiError(`${method} ${settings.apiEndpoint}${path}: ${status}${request} ${message}`, status);
}

function parseError(body: string): { message: string; request_id?: string } {
  try {
    const parsed = JSON.parse(body) as { message?: string; request_id?: string };
    return { message: parsed.message ?? body, ...(parsed.request_id ? { request_id: parsed.request_id } : {}) };
  } catch {
    return { message: body };
  }
}

function reasonOf(error: Error & { code?: string }): string {
  return error.message || error.code || "no answer";
}

function rateLimiter(perSecond: number): () => Promise<void> {
  let next = 0;
  return async () => {
    if (perSecond > 0) {
      const now = Date.now();
      const turn = Math.max(now, next);
      next = turn + 1000 / perSecond;
      await sleep(turn - now);
    }
  };
}
