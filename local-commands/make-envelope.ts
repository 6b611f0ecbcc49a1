/**
 * Encrypts a text to a key made for it alone, once: every encryption differs, and a different one would be another server.
 * Input `{"purpose": {...}, "text": "..."}`; output `{"envelope": "<base64 DER>", "sha256": "<hex>", "privateKey": "<PEM, PKCS#8>"}`.
 */
import { generateKeyPairSync } from "node:crypto";
import { sha256 } from "../lib/archive.ts";
import { type EnvelopePurpose, sealEnvelope } from "../lib/envelope.ts";
import { runCommand } from "./command.ts";

await runCommand(async ({ purpose, text }: { purpose: EnvelopePurpose; text: string }) => {
  const pair = generateKeyPairSync("rsa", {
    modulusLength: 3072,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const envelope = sealEnvelope(pair.publicKey, purpose, text);
  return { envelope: envelope.toString("base64"), sha256: sha256(envelope), privateKey: pair.privateKey };
});
