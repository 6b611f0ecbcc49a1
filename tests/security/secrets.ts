import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { sha256 } from "../../lib/archive.ts";
import { type SiteSecretPurpose, sealEnvelope } from "../../lib/envelope.ts";
import type { SealedSecret } from "../../local-commands/seal-secret.ts";
import type { TestServer } from "../server-scripts/server.ts";

/** One of the server's keys, with the passphrase that the stack has for it. */
export interface ServerKey {
  readonly number: number;
  readonly passphrase: string;
  /** PEM. */
  readonly publicKey: string;
  readonly fingerprint: string;
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
  bytes: Buffer,
): Omit<SealedSecret, "format"> {
  const object = `chillbox/encrypted-secrets/${site}/${service}/box/${file}`;
  const path = join(server.files, "artifacts", object);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  return { service, file, bucket: "artifacts", object, size: bytes.length, sha256: sha256(bytes) };
}

/** The format of sites' own older tools, made as they make it: by openssl. @param publicKey of RSA-4096 */
export function sealOlder(publicKey: string, content: string | Uint8Array): Buffer {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-older-"));
  const path = (name: string) => join(folder, name);
  const openssl = (...words: string[]) => execFileSync("openssl", words, { stdio: ["ignore", "ignore", "pipe"] });
  try {
    writeFileSync(path("public.pem"), publicKey);
    writeFileSync(path("password"), randomBytes(128).toString("base64"));
    writeFileSync(path("plain"), content);
    const oaep = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", "rsa_oaep_md:sha512"];
    const keys = ["-pubin", "-inkey", path("public.pem"), "-in", path("password"), "-out", path("key")];
    openssl("pkeyutl", "-encrypt", ...oaep, ...keys);
    const how = ["-aes-256-cbc", "-md", "sha512", "-pbkdf2", "-iter", "313131", "-salt"];
    openssl("enc", ...how, "-pass", `file:${path("password")}`, "-in", path("plain"), "-out", path("rest"));
    return Buffer.concat([readFileSync(path("key")), readFileSync(path("rest"))]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
