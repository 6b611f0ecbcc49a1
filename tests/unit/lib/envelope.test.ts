import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { envelopeHeader, sealEnvelope } from "../../../lib/envelope.ts";

const run = promisify(execFile);
const purpose = { purpose: "first-boot", server: "box-1", number: 1 } as const;
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

async function openWithOpenssl(envelope: Buffer): Promise<string> {
  await writeFile(join(folder, "in.der"), envelope);
  const words = ["cms", "-decrypt", "-inform", "DER", "-in", join(folder, "in.der"), "-binary"];
  await run("openssl", [...words, "-inkey", join(folder, "key.pem"), "-out", join(folder, "out")]);
  return readFile(join(folder, "out"), "utf8");
}

test("openssl opens what was sealed, header first", async () => {
  for (const text of ["", "#!/bin/sh\necho ü\n", "x".repeat(100_000)]) {
    assert.equal(await openWithOpenssl(sealEnvelope(publicKey, purpose, text)), envelopeHeader(purpose) + text);
  }
});

test("the header is one line of fixed text", () => {
  assert.equal(envelopeHeader(purpose), 'chillbox-envelope 1 {"purpose":"first-boot","server":"box-1","number":1}\n');
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
