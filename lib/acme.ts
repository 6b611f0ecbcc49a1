import { readFile } from "node:fs/promises";
import { UserError } from "./user-error.ts";

/** Let's Encrypt, whose certificates every browser trusts; and its staging server, which has the same rules, wider limits, and no browser's trust. */
const production = "https://acme-v02.api.letsencrypt.org/directory";
const staging = "https://acme-staging-v02.api.letsencrypt.org/directory";

/** How sites get their certificates, as `chillbox-configure` takes it. */
export interface TlsSettings {
  readonly enabled: boolean;
  /** URL of the ACME server's directory. */
  readonly directory: string;
  /** Another one for the first order of a name, whose limits allow mistakes; null where there is none. */
  readonly trial: string | null;
  /** Who the CA writes to. */
  readonly email: string;
  /** Roots by which the ACME servers themselves are known, PEM; null: those of the system. */
  readonly ca: string | null;
  /** Whether browsers are told to come by https only, for two years. */
  readonly hsts: boolean;
}

/**
 * The directory for first orders. A name whose DNS or template is wrong costs a failed order there, and none of the few that Let's Encrypt
 * allows in an hour; whatever fails on trial is not ordered.
 */
export function trialDirectory(directory: string): string | null {
  return directory === production ? staging : null;
}

/**
 * The certificates in the file that config's `acmeCaFile` names, PEM; null when it names none.
 * @throws UserError when it has none
 */
export async function readRoots(file: string | undefined): Promise<string | null> {
  if (file === undefined) return null;
  const text = await readFile(file, "utf8").catch(() => "");
  if (text.startsWith("-----BEGIN CERTIFICATE-----\n")) return text;
  throw new UserError(`chillbox:acmeCaFile names ${file}, which is no PEM file with certificates.`);
}
