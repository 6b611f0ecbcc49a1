import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { sha256 } from "../../lib/archive.ts";
import { type SiteSecretPurpose, sealEnvelope } from "../../lib/envelope.ts";
import type { TestServer } from "../server-scripts/server.ts";

/** One of the server's keys, with the passphrase that the stack has for it. */
export interface ServerKey {
  readonly number: number;
  readonly passphrase: string;
  /** PEM. */
  readonly publicKey: string;
  readonly fingerprint: string;
}

/** One of `chillbox-secrets put`'s secrets. */
export interface SealedSecret {
  readonly service: string;
  readonly file: string;
  readonly format: "envelope" | "older";
  readonly bucket: string;
  readonly object: string;
  /** Bytes of the sealed file. */
  readonly size: number;
  readonly sha256: string;
  readonly number?: number;
}

/** Makes a key on the server, or finds the one that is there. */
export async function ensureKey(server: TestServer, number: number, passphrase = newPassphrase()): Promise<ServerKey> {
  const said = await server.ssh("doas chillbox-server-key ensure", { number, passphrase });
  if (said.code !== 0) throw new Error(said.errors);
  return { passphrase, ...JSON.parse(said.out) };
}

export function newPassphrase(): string {
  return randomBytes(32).toString("hex");
}

let last = 0;

/** Seals the secrets file of a site's service "api" and lays it into the bucket. `changes`: of what it is sealed for. */
export function seal(
  server: TestServer,
  key: ServerKey,
  site: string,
  content: string | Uint8Array,
  changes: Partial<SiteSecretPurpose> = {},
): SealedSecret {
  last = Math.max(last + 1, Date.now());
  const place = { site, service: "api", file: "api.cfg" };
  const purpose = { purpose: "site-secret", ...place, key: key.fingerprint, number: last, ...changes } as const;
  const envelope = sealEnvelope(key.publicKey, purpose, content);
  return { ...offer(server, place, envelope), format: "envelope", number: purpose.number };
}

/** Lays a sealed file where the laptop would. */
export function offer(
  server: TestServer,
  { site, service, file }: { site: string; service: string; file: string },
  bytes: Uint8Array,
): Omit<SealedSecret, "format"> {
  const object = `chillbox/encrypted-secrets/${site}/${service}/box/${file}`;
  const path = join(server.files, "artifacts", object);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return { service, file, bucket: "artifacts", object, size: bytes.length, sha256: sha256(bytes) };
}
