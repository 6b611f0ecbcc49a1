import { sha256 } from "../archive.ts";
import { UserError } from "../user-error.ts";

/** What `chillbox-certs csr` prints: what is wanted of a CA, and what there is. */
export interface CertificateRequest {
  readonly names: readonly string[];
  /** PEM. */
  readonly csr: string;
  /** URL of the ACME server's directory. */
  readonly directory: string;
  /** That of the one that first orders go to, if there is one. */
  readonly trial: string | null;
  readonly email: string;
  /** Roots by which the ACME server is known, PEM; null: those of the system. */
  readonly ca: string | null;
  readonly certificate: HeldCertificate | null;
}

/**
 * A server that somebody has taken over must not get certificates for other names of the DNS account by the laptop's token.
 * @param names that the server asks for
 * @param sites as their files say on the laptop
 * @throws UserError when a name is not the site's
 */
export function checkNames(
  slug: string,
  names: readonly string[],
  sites: readonly { readonly slug: string; readonly domains: readonly string[] }[],
): void {
  const domains = sites.find((site) => site.slug === slug)?.domains ?? [];
  const odd = names.find((name) => !domains.includes(name));
  if (odd === undefined) return;
  throw new UserError(
    `The server asks for a certificate for ${odd}, which is not in "domain_list" of ${slug}.site.json. If you have just changed the file, bring it to the server first.`,
  );
}

/** A certificate in use. */
export interface HeldCertificate {
  readonly names: readonly string[];
  readonly directory: string;
  /** UTC, ISO 8601. */
  readonly issued: string;
  readonly expires: string;
  /** Of its CA's key, and its own: hex. */
  readonly authority: string;
  readonly serial: string;
}

/** When the CA wants a certificate to be renewed. Milliseconds since 1970. */
export interface Window {
  readonly start: number;
  readonly end: number;
}

/**
 * Why a new certificate is to be ordered now; `undefined` when none is.
 * @param window what the CA suggests, if it does (RFC 9773)
 * @param now milliseconds since 1970
 */
export function reasonToOrder(
  { names, directory, certificate }: CertificateRequest,
  window: Window | undefined,
  now: number,
): string | undefined {
  if (certificate === null) return "it has none yet";
  if (certificate.directory !== directory) return "it is of another CA";
  if ([...certificate.names].sort().join() !== [...names].sort().join()) return "its names have changed";
  const [issued, expires] = [Date.parse(certificate.issued), Date.parse(certificate.expires)];
  if (expires - now < (expires - issued) / 3) return `it ends at ${certificate.expires}`;
  if (window && now >= momentIn(window, certificate.serial)) return "the CA wants it to be renewed";
  return undefined;
}

/** A certificate's own moment in the window, the same each time it is asked: not all should come at once. */
function momentIn({ start, end }: Window, serial: string): number {
  return start + (Math.max(0, end - start) * Number.parseInt(sha256(serial).slice(0, 8), 16)) / 2 ** 32;
}

/** By what the CA knows a certificate (RFC 9773, section 4.1); `undefined` when it does not name its CA's key. */
export function renewalId({ authority, serial }: HeldCertificate): string | undefined {
  if (!/^([0-9A-F]{2})+$/.test(authority) || !/^[0-9A-F]+$/.test(serial)) return undefined;
  const even = serial.length % 2 === 0 ? serial : `0${serial}`;
  // As the number is in the certificate: one whose first bit is set has a zero before it.
  const signed = Number.parseInt(even.slice(0, 2), 16) >= 0x80 ? `00${even}` : even;
  return [authority, signed].map((hex) => Buffer.from(hex, "hex").toString("base64url")).join(".");
}

/** What is remembered of an order that failed. */
export interface Failure {
  readonly attempts: number;
  /** UTC, ISO 8601. */
  readonly since: string;
  /** When it may be tried again. */
  readonly next: string;
  readonly reason: string;
}

/** A failure after another: an hour, then two, up to a day, as the server does it. */
export function nextFailure(before: Failure | undefined, reason: string, now: number): Failure {
  const attempts = (before?.attempts ?? 0) + 1;
  const hours = Math.min(24, 2 ** (attempts - 1));
  const at = (time: number) => new Date(time).toISOString();
  return { attempts, since: before?.since ?? at(now), next: at(now + hours * 3_600_000), reason };
}
