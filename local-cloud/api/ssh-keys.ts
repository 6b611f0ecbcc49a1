import { createHash } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type ApiContext, found, listRequest, parameter, readBody, requiredText } from "./context.ts";
import { unprocessable } from "./errors.ts";
import type { components } from "./openapi.d.ts";
import { paginate } from "./pages.ts";
import type { SshKeyRecord } from "./records.ts";
import type { Store } from "./store.ts";

/** `/v2/account/keys`. */
export function routeSshKeys(app: FastifyInstance, context: ApiContext): void {
  const { store } = context;
  const requested = (request: FastifyRequest) => found(findSshKey(store, parameter(request, "id")));

  app.get("/v2/account/keys", (request) => paginate(listRequest(request), "ssh_keys", store.sshKeys.all(), render));
  app.post("/v2/account/keys", async (request, reply) => {
    const body = readBody(context, request, "sshKeys_create");
    const name = requiredText(body, "name");
    const publicKey = requiredText(body, "public_key");
    const fingerprint = fingerprintOf(publicKey);
    const key = await store.change(() => {
      if (store.sshKeys.all().some((other) => other.fingerprint === fingerprint)) {
        throw unprocessable("SSH Key is already in use on your account");
      }
      return store.sshKeys.put({ id: store.next("ssh_key", 40001), name, publicKey, fingerprint });
    });
    return reply.status(201).send({ ssh_key: render(key) });
  });
  app.get("/v2/account/keys/:id", (request) => ({ ssh_key: render(requested(request)) }));
  app.put("/v2/account/keys/:id", async (request) => {
    const name = requiredText(readBody(context, request, "sshKeys_update"), "name");
    return { ssh_key: render(await store.change(() => store.sshKeys.put({ ...requested(request), name }))) };
  });
  app.delete("/v2/account/keys/:id", async (request, reply) => {
    await store.change(() => store.sshKeys.delete(requested(request).id));
    return reply.status(204).send();
  });
}

/** The key with this id or fingerprint. */
export function findSshKey(store: Store, identifier: string | number): SshKeyRecord | undefined {
  const text = String(identifier);
  if (/^[1-9][0-9]{0,14}$/.test(text)) return store.sshKeys.get(Number(text));
  return store.sshKeys.all().find((key) => key.fingerprint === text);
}

/**
 * MD5 of an OpenSSH public key, as colon separated hex.
 * @throws ApiError 422 when the text is not one line `type base64 [comment]` whose type is that inside the base64.
 */
export function fingerprintOf(publicKey: string): string {
  const [, type = "", base64 = ""] =
    /^([a-z0-9@.-]+) +([A-Za-z0-9+/]+={0,2})(?: [^\r\n]*)?$/.exec(publicKey.trim()) ?? [];
  const blob = Buffer.from(base64, "base64");
  const length = blob.length >= 4 ? blob.readUInt32BE(0) : 0;
  if (length === 0 || blob.subarray(4, 4 + length).toString("latin1") !== type) {
    throw unprocessable("Key invalid, please double check your input.");
  }
  const digest = createHash("md5").update(blob).digest("hex");
  return digest.replace(/..(?=.)/g, "$&:");
}

function render(key: SshKeyRecord): components["schemas"]["sshKeys"] {
  return { id: key.id, name: key.name, fingerprint: key.fingerprint, public_key: key.publicKey };
}
