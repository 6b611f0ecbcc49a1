import type { FastifyBaseLogger, FastifyRequest } from "fastify";
import type { DropletDriver, Network } from "../types.ts";
import { notFound, unprocessable } from "./errors.ts";
import type { Jobs } from "./jobs.ts";
import type { ListRequest } from "./pages.ts";
import type { BodyCheck } from "./schema-check.ts";
import type { Store } from "./store.ts";

/** What every part of the API is handed. */
export interface ApiContext {
  readonly store: Store;
  readonly driver: DropletDriver;
  readonly network: Network;
  /** Folder of imported images, `<id>.raw`. */
  readonly imagesFolder: string;
  /** Proxy for image addresses under `.test`. */
  readonly spacesProxy: string;
  readonly log: FastifyBaseLogger;
  readonly check: BodyCheck;
  readonly jobs: Jobs;
}

export type Body = Readonly<Record<string, unknown>>;

/** The request's JSON object, checked against the operation's schema. @throws ApiError 422 */
export function readBody(context: ApiContext, request: FastifyRequest, operation: string): Body {
  const { body } = request;
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw unprocessable("The body must be a JSON object.");
  }
  context.check(operation, body);
  return body as Body;
}

/** A path parameter. */
export function parameter(request: FastifyRequest, name: string): string {
  return (request.params as Record<string, string>)[name] ?? "";
}

/** A path parameter that is a number from 1 on. @throws ApiError 404 */
export function numberParameter(request: FastifyRequest, name: string): number {
  const text = parameter(request, name);
  if (!/^[1-9][0-9]{0,14}$/.test(text)) throw notFound();
  return Number(text);
}

/** The value, unless it is missing. @throws ApiError 404 */
export function found<T>(value: T | undefined): T {
  if (value === undefined) throw notFound();
  return value;
}

/** A text of a body; an empty one when missing or null. @throws ApiError 422 for any other type */
export function textOf(body: Body, key: string): string {
  const value = body[key] ?? "";
  if (typeof value !== "string") throw unprocessable(`${key} must be a string.`);
  return value;
}

/** A text of a body that must have at least one character. @throws ApiError 422 */
export function requiredText(body: Body, key: string): string {
  const value = textOf(body, key);
  if (value.trim() === "") throw unprocessable(`${capital(key)} can't be blank`);
  return value;
}

/** A list of texts; an empty one when missing or null. @throws ApiError 422 for any other type */
export function textsOf(body: Body, key: string): string[] {
  const value = body[key] ?? [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw unprocessable(`${key} must be a list of strings.`);
  }
  return value;
}

/** A list of whole numbers; an empty one when missing or null. @throws ApiError 422 for any other type */
export function numbersOf(body: Body, key: string): number[] {
  const value = body[key] ?? [];
  if (!Array.isArray(value) || value.some((item) => !Number.isSafeInteger(item))) {
    throw unprocessable(`${key} must be a list of integers.`);
  }
  return value;
}

/** A list of objects; an empty one when missing or null. @throws ApiError 422 for any other type */
export function objectsOf(body: Body, key: string): Body[] {
  const value = body[key] ?? [];
  const isObject = (item: unknown) => typeof item === "object" && item !== null && !Array.isArray(item);
  if (!Array.isArray(value) || !value.every(isObject)) throw unprocessable(`${key} must be a list of objects.`);
  return value;
}

/** `http://host:port`, as the client wrote it. */
export function origin(request: FastifyRequest): string {
  return `${request.protocol}://${request.host}`;
}

/** What `paginate` needs to know of a request: its address without the query, and the query. */
export function listRequest(request: FastifyRequest): ListRequest {
  const [path = ""] = request.url.split("?");
  return { address: `${origin(request)}${path}`, query: queryOf(request) };
}

/** The query's values by name. */
export function queryOf(request: FastifyRequest): Readonly<Record<string, string>> {
  return request.query as Record<string, string>;
}

/** RFC 3339 in UTC, whole seconds. */
export function now(): string {
  return `${new Date().toISOString().slice(0, 19)}Z`;
}

function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
