import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { envelopeHeader, keyFingerprint, type SiteSecretPurpose, sealEnvelope } from "../../../lib/envelope.ts";

const run = promisify(execFile);
const purpose = { purpose: "first-boot", server: "box-1", number: 1 } as const;
const secret: SiteSecretPurpose = {
  purpose: "site-secret",
  site: "shop",
  service: "api",
  file: "api.cfg",
  key: "00",
  number: 1_700_000_000_000,
};
let folder: string;
let publicKey: string;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "chillbox-envelope-"));
  const pair = generateKeyPairSync("rsa", {
    modulusLength: 3072,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  publicKey = pair.publicKey;
  await writeFile(join(folder, "key.pem"), pair.privateKey, { mode: 0o600 });
});
after(() => rm(folder, { recursive: true }));

async function openWithOpenssl(envelope: Buffer): Promise<Buffer> {
  await writeFile(join(folder, "in.der"), envelope);
  const words = ["cms", "-decrypt", "-inform", "DER", "-in", join(folder, "in.der"), "-binary"];
  await run("openssl", [...words, "-inkey", join(folder, "key.pem"), "-out", join(folder, "out")]);
  return readFile(join(folder, "out"));
}

test("openssl opens what was sealed, header first", async () => {
  for (const text of ["", "#!/bin/sh\necho ü\n", "x".repeat(100_000)]) {
    const opened = await openWithOpenssl(sealEnvelope(publicKey, purpose, text));
    assert.equal(opened.toString("utf8"), envelopeHeader(purpose) + text);
  }
});

test("bytes that are no text come back as they were", async () => {
  const bytes = Buffer.from(Array.from({ length: 1024 }, (_, index) => index % 256));
  const opened = await openWithOpenssl(sealEnvelope(publicKey, secret, bytes));
  assert.deepEqual(opened, Buffer.concat([Buffer.from(envelopeHeader(secret)), bytes]));
});

test("the header is one line of fixed text", () => {
  assert.equal(envelopeHeader(purpose), 'chillbox-envelope 1 {"purpose":"first-boot","server":"box-1","number":1}\n');
  assert.equal(
    envelopeHeader({ number: 7, key: "ab", file: "api.cfg", service: "api", site: "shop", purpose: "site-secret" }),
    'chillbox-envelope 1 {"purpose":"site-secret","site":"shop","service":"api","file":"api.cfg","key":"ab","number":7}\n',
  );
});

test("a key's fingerprint is what openssl says of its DER", async () => {
  await writeFile(join(folder, "public.pem"), publicKey);
  await run("openssl", [
    "pkey",
    "-pubin",
    "-in",
    join(folder, "public.pem"),
    "-outform",
    "DER",
    "-out",
    join(folder, "der"),
  ]);
  const { stdout } = await run("openssl", ["dgst", "-sha256", "-r", join(folder, "der")]);
  assert.equal(keyFingerprint(publicKey), stdout.split(" ")[0]);
});

test("every encryption differs", () => {
  assert.notDeepEqual(sealEnvelope(publicKey, purpose, "x"), sealEnvelope(publicKey, purpose, "x"));
});

test("openssl refuses a changed ciphertext", async () => {
  const envelope = sealEnvelope(publicKey, purpose, "echo hello\n".repeat(50));
  // The last bytes are the tag, before them lies the ciphertext.
  envelope[envelope.length - 100] = (envelope[envelope.length - 100] ?? 0) ^ 1;
  await assert.rejects(openWithOpenssl(envelope));
});
