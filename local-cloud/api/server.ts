import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { mkdir } from "node:fs/promises";
import Fastify, { type FastifyBaseLogger, type FastifyError, type FastifyInstance } from "fastify";
import type { DropletDriver, Network } from "../types.ts";
import { routeAccount } from "./account.ts";
import { routeActions } from "./actions.ts";
import type { ApiContext } from "./context.ts";
import { routeDomains } from "./domains.ts";
import { recordPower } from "./droplet-jobs.ts";
import { routeDroplets } from "./droplets.ts";
import { ApiError, notFound, notImplemented } from "./errors.ts";
import { routeFirewalls } from "./firewalls.ts";
import { routeImages } from "./images.ts";
import { Jobs } from "./jobs.ts";
import { keepNetwork } from "./keep-network.ts";
import { ensureDefaultProject, routeProjects } from "./projects.ts";
import { makeRateCounter, type RateLimits } from "./rate-limit.ts";
import { routeReservedIps } from "./reserved-ips.ts";
import { resume } from "./resume.ts";
import { makeBodyCheck } from "./schema-check.ts";
import { routeSnapshots } from "./snapshots.ts";
import { routeSpacesKeys } from "./spaces-keys.ts";
import { routeSshKeys } from "./ssh-keys.ts";
import type { Store } from "./store.ts";
import { routeTags } from "./tags.ts";
import { routeVpcs } from "./vpcs.ts";

export interface ApiDependencies {
  readonly store: Store;
  readonly driver: DropletDriver;
  /** Must have been started. */
  readonly network: Network;
  /** Folder for imported images; made when missing. */
  readonly imagesFolder: string;
  /** The bearer token that every request must carry. */
  readonly token: string;
  /** HTTP proxy through which image addresses under `.test` are fetched, e.g. `http://127.0.0.1:8082`. */
  readonly spacesProxy: string;
  readonly log: FastifyBaseLogger;
  /** Answers 429 beyond these. Default: requests are counted, but none is refused. */
  readonly limits?: RateLimits;
}

const bodyLimit = 1024 * 1024;
const stopMs = 10_000;

/**
 * The public API of the local DigitalOcean, not listening yet. When it resolves, firewalls and reserved addresses hold; then, in the
 * background, droplets that ran are booted, and actions and imports that a stop cut short are taken up again.
 *
 * Close it before the droplets are stopped: what happens to them after that is not recorded, so that they run again after the next start.
 */
export async function createApi(dependencies: ApiDependencies): Promise<FastifyInstance> {
  const { log, store, driver } = dependencies;
  const context: ApiContext = {
    ...dependencies,
    check: makeBodyCheck(),
    jobs: new Jobs((error, key) => log.error(error, `work on ${key} failed`)),
  };
  const app = Fastify({
    bodyLimit,
    genReqId: () => randomUUID(),
    requestIdHeader: false,
    routerOptions: {
      ignoreTrailingSlash: true,
      maxParamLength: 300,
      // One value a name, the last.
      querystringParser: (text) => Object.fromEntries(new URLSearchParams(text)),
    },
    // Answered like any other path that does not exist.
    frameworkErrors: (_error, request, reply) => {
      reply.code(404 as never);
      reply.send(errorBody(notFound(), request.id) as never);
    },
    requestTimeout: 30_000,
    // Requests under way are answered: a connection that breaks in a delete makes the official plugin crash.
    forceCloseConnections: "idle",
  });
  acceptEmptyBodies(app);
  answerErrors(app, log);
  guard(app, dependencies.token, makeRateCounter(dependencies.limits));
  app.addHook("preHandler", async (request) => {
    // Reads must not see what a change has not committed.
    if (request.method === "GET" || request.method === "HEAD") await store.settled();
  });
  for (const route of routes) route(app, context);

  await mkdir(context.imagesFolder, { recursive: true, mode: 0o700 });
  await ensureDefaultProject(store);
  await keepNetwork(context);
  driver.onChange((id) => void notice(context, id));
  app.addHook("onListen", () => resume(context));
  app.addHook("preClose", () => context.jobs.stop(stopMs));
  return app;
}

const routes: readonly ((app: FastifyInstance, context: ApiContext) => void)[] = [
  routeAccount,
  routeActions,
  routeDomains,
  routeDroplets,
  routeFirewalls,
  routeImages,
  routeProjects,
  routeReservedIps,
  routeSnapshots,
  routeSpacesKeys,
  routeSshKeys,
  routeTags,
  routeVpcs,
];

async function notice(context: ApiContext, id: number): Promise<void> {
  if (context.jobs.signal.aborted) return;
  try {
    await recordPower(context, id);
  } catch (error) {
    context.log.error(error, `cannot record whether droplet ${id} runs`);
  }
}

/** Clients send `Content-Type: application/json` without a body too, also with DELETE. */
function acceptEmptyBodies(app: FastifyInstance): void {
  const parse = app.getDefaultJsonParser("error", "error");
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("application/json", { parseAs: "string" }, (request, body, done) => {
    if (body.length === 0) done(null, undefined);
    else void parse(request, body as string, done);
  });
}

/** Every request must carry the token, and every answer tells how many more are allowed. */
function guard(app: FastifyInstance, token: string, count: ReturnType<typeof makeRateCounter>): void {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  const expected = digest(token);
  app.addHook("onRequest", async (request, reply) => {
    const rate = count(Date.now());
    reply.headers({
      "ratelimit-limit": rate.limit,
      "ratelimit-remaining": rate.remaining,
      "ratelimit-reset": rate.reset,
      "x-request-id": request.id,
    });
    const [, given = ""] = /^Bearer +(\S+)$/i.exec(request.headers.authorization ?? "") ?? [];
    if (!timingSafeEqual(digest(given), expected)) {
      throw new ApiError(401, "unauthorized", "Unable to authenticate you.");
    }
    if (rate.retryAfter !== undefined) {
      reply.header("retry-after", rate.retryAfter);
      throw new ApiError(429, "too_many_requests", "API Rate limit exceeded.");
    }
  });
}

function answerErrors(app: FastifyInstance, log: FastifyBaseLogger): void {
  app.setErrorHandler<FastifyError>((error, request, reply) => {
    const answer = error instanceof ApiError ? error : translate(error);
    if (answer.status === 500) log.error(error, `${request.method} ${request.routeOptions.url} failed`);
    return reply.status(answer.status).send(errorBody(answer, request.id));
  });
  app.setNotFoundHandler((request, reply) => {
    const [path = ""] = request.url.split("?");
    const isApi = path === "/v2" || path.startsWith("/v2/");
    const error = isApi ? notImplemented(`${request.method} ${path.slice(0, 200)}`) : notFound();
    return reply.status(error.status).send(errorBody(error, request.id));
  });
}

/** Errors of the HTTP server itself. What went wrong inside is for the log only. */
function translate(error: FastifyError): ApiError {
  const status = error.statusCode ?? 500;
  if (status === 413) return new ApiError(413, "payload_too_large", "The request's body is too large.");
  if (status === 415) return new ApiError(415, "unsupported_media_type", "The body must be application/json.");
  if (status >= 400 && status < 500)
    return new ApiError(400, "bad_request", "The request is not valid JSON over HTTP.");
  return new ApiError(500, "server_error", "Unexpected server-side error");
}

function errorBody(error: ApiError, requestId: string) {
  return { id: error.id, message: error.message, request_id: requestId };
}
