import { constants, createCipheriv, createHash, createPublicKey, publicEncrypt, randomBytes } from "node:crypto";
import forge from "node-forge";

const { asn1 } = forge;
type Asn1 = forge.asn1.Asn1;

const oids = {
  authEnvelopedData: "1.2.840.113549.1.9.16.1.23",
  data: "1.2.840.113549.1.7.1",
  aes256Gcm: "2.16.840.1.101.3.4.1.46",
  rsaesOaep: "1.2.840.113549.1.1.7",
  mgf1: "1.2.840.113549.1.1.8",
  sha256: "2.16.840.1.101.3.4.2.1",
} as const;

/** What an envelope is for: the first line of its plaintext, compared on the server before anything else is done with it. */
export type EnvelopePurpose = FirstBootPurpose | SiteSecretPurpose;

export interface FirstBootPurpose {
  readonly purpose: "first-boot";
  /** The server's host name. */
  readonly server: string;
  /** Counts the envelopes of one purpose and server, from 1. */
  readonly number: number;
}

/** The secrets file of one service. */
export interface SiteSecretPurpose {
  readonly purpose: "site-secret";
  /** The site's slug. */
  readonly site: string;
  readonly service: string;
  /** Name of the file, as the site file's `secrets_config` has it. */
  readonly file: string;
  /** {@link keyFingerprint} of the server's public key: it, and not a host name, is what a server cannot share with another. */
  readonly key: string;
  /** When it was sealed, in milliseconds since the epoch: a server refuses one that is older than what it has. */
  readonly number: number;
}

/** The header line, with its newline. The order of the keys is fixed: the server compares text. */
export function envelopeHeader(purpose: EnvelopePurpose): string {
  return `chillbox-envelope 1 ${JSON.stringify(inOrder(purpose))}\n`;
}

function inOrder(given: EnvelopePurpose): EnvelopePurpose {
  if (given.purpose === "first-boot") {
    const { purpose, server, number } = given;
    return { purpose, server, number };
  }
  const { purpose, site, service, file, key, number } = given;
  return { purpose, site, service, file, key, number };
}

/** SHA-256 in hex of the public key's DER (SubjectPublicKeyInfo): the same as what `chillbox-server-key` says on the server. */
export function keyFingerprint(publicKey: string): string {
  return createHash("sha256").update(spki(publicKey)).digest("hex");
}

/**
 * Encrypts a text or bytes to an RSA public key as CMS AuthEnvelopedData (RFC 5083, 5084): AES-256-GCM under a fresh key, which travels
 * by RSA-OAEP with SHA-256. `openssl cms -decrypt -binary -inform DER -inkey KEY` opens it (3.0 and newer).
 * CMS attributes are not authenticated by openssl, so what the envelope is for stands in the content's first line.
 * @param publicKey PEM, SubjectPublicKeyInfo, RSA
 * @param content a text becomes UTF-8
 * @returns DER; different each time, also for the same content
 */
export function sealEnvelope(publicKey: string, purpose: EnvelopePurpose, content: string | Uint8Array): Buffer {
  const key = randomBytes(32);
  const nonce = randomBytes(12);
  const cipher = createCipheriv("aes-256-gcm", key, nonce);
  const header = cipher.update(envelopeHeader(purpose), "utf8");
  const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : content;
  const ciphertext = Buffer.concat([header, cipher.update(bytes), cipher.final()]);
  const encryptedKey = publicEncrypt(
    { key: publicKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" },
    key,
  );
  const enveloped = sequence(
    integer(0),
    set(recipient(keyIdentifier(publicKey), encryptedKey)),
    sequence(
      oid(oids.data),
      // The length of the tag must be there: left out it means 12, and openssl then misreads the tag.
      sequence(oid(oids.aes256Gcm), sequence(octets(nonce), integer(16))),
      asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, false, binary(ciphertext)),
    ),
    octets(cipher.getAuthTag()),
  );
  const message = sequence(oid(oids.authEnvelopedData), explicit(0, enveloped));
  return Buffer.from(asn1.toDer(message).getBytes(), "binary");
}

/** KeyTransRecipientInfo, version 2: the recipient is named by a key identifier, because there is no certificate. */
function recipient(identifier: Buffer, encryptedKey: Buffer): Asn1 {
  const sha256 = () => sequence(oid(oids.sha256), nothing());
  return sequence(
    integer(2),
    asn1.create(asn1.Class.CONTEXT_SPECIFIC, 0 as forge.asn1.Type, false, binary(identifier)),
    sequence(oid(oids.rsaesOaep), sequence(explicit(0, sha256()), explicit(1, sequence(oid(oids.mgf1), sha256())))),
    octets(encryptedKey),
  );
}

/** A name for the public key, which openssl does not check when it is given the private one. */
function keyIdentifier(publicKey: string): Buffer {
  return createHash("sha256").update(spki(publicKey)).digest().subarray(0, 20);
}

function spki(publicKey: string): Buffer {
  return createPublicKey(publicKey).export({ type: "spki", format: "der" });
}

const universal = asn1.Class.UNIVERSAL;
const binary = (bytes: Buffer): string => bytes.toString("binary");
const sequence = (...parts: Asn1[]): Asn1 => asn1.create(universal, asn1.Type.SEQUENCE, true, parts);
const set = (...parts: Asn1[]): Asn1 => asn1.create(universal, asn1.Type.SET, true, parts);
const octets = (bytes: Buffer): Asn1 => asn1.create(universal, asn1.Type.OCTETSTRING, false, binary(bytes));
const nothing = (): Asn1 => asn1.create(universal, asn1.Type.NULL, false, "");
const explicit = (tag: number, part: Asn1): Asn1 =>
  asn1.create(asn1.Class.CONTEXT_SPECIFIC, tag as forge.asn1.Type, true, [part]);
const oid = (dotted: string): Asn1 => asn1.create(universal, asn1.Type.OID, false, asn1.oidToDer(dotted).getBytes());
const integer = (value: number): Asn1 =>
  asn1.create(universal, asn1.Type.INTEGER, false, asn1.integerToDer(value).getBytes());
