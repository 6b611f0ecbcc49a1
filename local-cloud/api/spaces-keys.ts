import { randomBytes, randomInt } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { SpacesGrant, SpacesKeys } from "../types.ts";
import {
  type ApiContext,
  type Body,
  found,
  listRequest,
  now,
  objectsOf,
  parameter,
  readBody,
  requiredText,
  textOf,
} from "./context.ts";
import { badRequest, unprocessable } from "./errors.ts";
import { paginate } from "./pages.ts";
import type { SpacesKeyRecord } from "./records.ts";
import type { Store } from "./store.ts";

const keyLimit = 200;
const bucketName = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** `/v2/spaces/keys`. The secret is told once, in the answer to its making. */
export function routeSpacesKeys(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(store.spacesKeys.get(parameter(request, "id")));

  app.get("/v2/spaces/keys", (request) => paginate(listRequest(request), "keys", store.spacesKeys.all(), render));
  app.post("/v2/spaces/keys", async (request, reply) => {
    const body = readBody(context, request, "spacesKey_create");
    const fields = { name: requiredText(body, "name"), grants: readGrants(body) };
    const key = await store.change(() => {
      if (store.spacesKeys.all().length >= keyLimit) throw unprocessable(`at most ${keyLimit} keys are possible`);
      return store.spacesKeys.put({ ...fields, id: newAccessKey(), secretKey: newSecretKey(), createdAt: now() });
    });
    return reply.status(201).send({ key: { ...render(key), secret_key: key.secretKey } });
  });
  app.get("/v2/spaces/keys/:id", (request) => ({ key: render(requested(request)) }));
  for (const method of ["PUT", "PATCH"] as const) {
    app.route({
      method,
      url: "/v2/spaces/keys/:id",
      handler: async (request) => {
        const body = readBody(context, request, "spacesKey_update");
        return { key: render(await store.change(() => updateKey(store, requested(request), body))) };
      },
    });
  }
  app.delete("/v2/spaces/keys/:id", async (request, reply) => {
    await store.change(() => store.spacesKeys.delete(requested(request).id));
    return reply.status(204).send();
  });
}

/** The API's Spaces keys for the Spaces front. */
export function makeSpacesKeys(store: Store): SpacesKeys {
  return {
    find(accessKey) {
      const key = store.spacesKeys.get(accessKey);
      return key === undefined ? undefined : { secretKey: key.secretKey, grants: key.grants };
    },
  };
}

/** Makes sure that the owner's own key for everything exists, as `credentials.json` has it. */
export async function ensureOwnerKey(store: Store, accessKey: string, secretKey: string): Promise<void> {
  if (store.spacesKeys.get(accessKey)?.secretKey === secretKey) return;
  const grants: SpacesGrant[] = [{ bucket: "", permission: "fullaccess" }];
  const name = "chillbox: key of this laptop";
  await store.change(() => store.spacesKeys.put({ id: accessKey, name, secretKey, grants, createdAt: now() }));
}

/** An access key as DigitalOcean makes them: `DO` and 18 letters and digits. */
export function newAccessKey(): string {
  const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  return `DO${Array.from({ length: 18 }, () => letters[randomInt(letters.length)]).join("")}`;
}

/** A secret key: 43 characters, 256 bits. */
export function newSecretKey(): string {
  return randomBytes(32).toString("base64url").replaceAll("-", "/").replaceAll("_", "+");
}

/** A key for all buckets cannot become one for some, nor the other way round. */
function updateKey(store: Store, key: SpacesKeyRecord, body: Body): SpacesKeyRecord {
  const name = body.name === undefined ? key.name : requiredText(body, "name");
  const grants = body.grants === undefined ? key.grants : readGrants(body);
  const isFull = (list: readonly SpacesGrant[]) => list.some((grant) => grant.permission === "fullaccess");
  if (grants.length > 0 && key.grants.length > 0 && isFull(grants) !== isFull(key.grants)) {
    throw badRequest("cannot change a key between fullaccess and scoped permissions.");
  }
  return store.spacesKeys.put({ ...key, name, grants });
}

function readGrants(body: Body): SpacesGrant[] {
  const grants = objectsOf(body, "grants").map(readGrant);
  const full = grants.filter((grant) => grant.permission === "fullaccess");
  if (full.length > 0 && full.length < grants.length) {
    throw badRequest("cannot mix fullaccess permission with scoped permissions.");
  }
  const buckets = grants.map((grant) => grant.bucket);
  if (new Set(buckets).size < buckets.length) throw badRequest("a bucket can be named once only.");
  return grants;
}

function readGrant(grant: Body): SpacesGrant {
  const permission = textOf(grant, "permission");
  const bucket = textOf(grant, "bucket");
  if (permission !== "read" && permission !== "readwrite" && permission !== "fullaccess") {
    throw badRequest("permission must be read, readwrite or fullaccess.");
  }
  if (permission === "fullaccess" && bucket !== "") throw badRequest("fullaccess cannot be given on one bucket.");
  if (permission !== "fullaccess" && !bucketName.test(bucket)) throw badRequest("bucket is not a valid bucket name.");
  return { bucket, permission };
}

function render(key: SpacesKeyRecord) {
  return { name: key.name, access_key: key.id, grants: key.grants, created_at: key.createdAt };
}
