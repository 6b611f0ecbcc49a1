/**
 * Encrypts a service's secrets file to the server's key and puts it into the bucket; one of the older format, which other tools have put
 * there, is only looked at. Input: see `SealSecretInput`; output: `SealedSecret`.
 */
import { sha256 } from "../lib/archive.ts";
import { keyFingerprint, sealEnvelope } from "../lib/envelope.ts";
import type { SecretsFile } from "../lib/site-secrets.ts";
import { UserError } from "../lib/user-error.ts";
import { runCommand } from "./command.ts";
import { getContent, openSpaces, putObjects, type SpacesTarget } from "./spaces.ts";

/** Also what `remove-objects.ts` gets when the resource goes: it takes `spaces` and `prefixes`. */
export interface SealSecretInput {
  readonly spaces: SpacesTarget;
  readonly slug: string;
  readonly secret: SecretsFile;
  /** PEM of the server's key. */
  readonly publicKey: string;
  /** Where the encrypted file lies in the bucket. */
  readonly object: string;
  readonly prefixes: readonly string[];
}

/** A secret as the server is told of it by `chillbox-secrets put`. */
export interface SealedSecret {
  readonly service: string;
  readonly file: string;
  /** Named, never guessed from the content. */
  readonly format: "envelope" | "older";
  readonly bucket: string;
  readonly object: string;
  /** Of the encrypted file. */
  readonly size: number;
  readonly sha256: string;
  /** Of an envelope: milliseconds since the epoch. The server refuses one that is older than what it has. */
  readonly number?: number;
}

await runCommand(({ secret, ...rest }: SealSecretInput): Promise<SealedSecret> => {
  const { content } = secret;
  return "base64" in content ? seal(secret, content.base64, rest) : describeOlder(secret, content.older, rest);
});

async function seal(
  { service, file }: SecretsFile,
  base64: string,
  { spaces, slug, publicKey, object }: Omit<SealSecretInput, "secret">,
): Promise<SealedSecret> {
  const number = Date.now();
  const purpose = {
    purpose: "site-secret",
    site: slug,
    service,
    file,
    key: keyFingerprint(publicKey),
    number,
  } as const;
  const envelope = sealEnvelope(publicKey, purpose, Buffer.from(base64, "base64"));
  await putObjects(openSpaces(spaces), spaces.bucket, [{ key: object, text: envelope, acl: "private" }]);
  const { bucket } = spaces;
  return { service, file, format: "envelope", bucket, object, size: envelope.length, sha256: sha256(envelope), number };
}

/** The digest in config is what a person has agreed to: whoever can write to the bucket could put another file there. */
async function describeOlder(
  { service, file }: SecretsFile,
  agreed: string,
  { spaces, slug, object }: Omit<SealSecretInput, "secret">,
): Promise<SealedSecret> {
  const { bucket } = spaces;
  const found = await getContent(openSpaces(spaces), bucket, object);
  if (found === undefined)
    throw new UserError(`${bucket} has no ${object}. Put it there again, or set the secret anew.`);
  const digest = sha256(found.content);
  if (digest !== agreed) {
    throw new UserError(
      `${object} in ${bucket} is not the file that was adopted: its SHA-256 is ${digest}. If it is yours: npx chillbox secrets adopt ${slug} ${service}`,
    );
  }
  return { service, file, format: "older", bucket, object, size: found.content.length, sha256: digest };
}
