import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { run } from "../run.ts";

/** A key and what vouches for it, both PEM. */
export interface Certificate {
  readonly key: string;
  /** Its own certificate alone: whoever asks trusts the authority, which signs without anything in between. */
  readonly certificate: string;
}

/** A certificate authority of this copy of the local cloud. */
export interface Authority {
  /** Its root, PEM. */
  readonly certificate: string;
  /** A new key and a certificate for it, for a year. */
  issue(names: readonly string[]): Promise<Certificate>;
}

/** Without it, openssl takes extensions out of the machine's own configuration. */
const emptyConfig = "[req]\ndistinguished_name = dn\n[dn]\n";
const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"];
const rootDays = 3650;
/** Browsers refuse more than 398. */
const days = 365;

/**
 * Opens the authority that is kept in a folder, made there if it is missing. Its keys leave that folder never, and a person who trusts it
 * trusts it for the names below `domain` alone: that is a constraint in its root.
 * @param folder absolute path; 0700
 * @param name what a person sees in a list of roots
 */
export async function openAuthority(folder: string, name: string, domain: string): Promise<Authority> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const root = join(folder, "ca");
  const certificate = await readFile(join(root, "cert.pem"), "utf8").catch(() => makeRoot(folder, name, domain));
  return {
    certificate,
    issue: (names) =>
      withFolder(folder, async (work) => {
        const extensions = [
          `subjectAltName=${names.map((one) => `DNS:${one}`).join(",")}`,
          "basicConstraints=critical,CA:FALSE",
          "keyUsage=critical,digitalSignature",
          "extendedKeyUsage=serverAuth",
        ];
        const signer = ["-CA", join(root, "cert.pem"), "-CAkey", join(root, "key.pem")];
        return makeCertificate(work, ["-days", `${days}`, "-subj", "/", ...signer, ...added(extensions)]);
      }),
  };
}

/** The authority of the gateway's certificates: what a person may trust, for names below `localhost`. */
export function openGatewayAuthority(settings: LocalCloudSettings): Promise<Authority> {
  return openAuthority(gatewayFolder(settings), "chillbox local gateway", "localhost");
}

/** Its root. */
export function gatewayRootFile(settings: LocalCloudSettings): string {
  return join(gatewayFolder(settings), "ca/cert.pem");
}

function gatewayFolder(settings: LocalCloudSettings): string {
  return join(settings.cloud, "gateway");
}

async function makeRoot(folder: string, name: string, domain: string): Promise<string> {
  return withFolder(folder, async (work) => {
    const extensions = [
      "basicConstraints=critical,CA:TRUE,pathlen:0",
      "keyUsage=critical,keyCertSign,cRLSign",
      "subjectKeyIdentifier=hash",
      `nameConstraints=critical,permitted;DNS:${domain}`,
    ];
    const made = await makeCertificate(work, ["-days", `${rootDays}`, "-subj", `/CN=${name}`, ...added(extensions)]);
    await rm(join(folder, "ca"), { recursive: true, force: true });
    await rename(work, join(folder, "ca"));
    return made.certificate;
  });
}

async function makeCertificate(work: string, options: readonly string[]): Promise<Certificate> {
  const [config, key, certificate] = ["openssl.cnf", "key.pem", "cert.pem"].map((name) => join(work, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(config, emptyConfig);
  const files = ["-config", config, "-keyout", key, "-out", certificate];
  await run("openssl", ["req", "-x509", ...newKey, ...files, ...options]);
  return { key: await readFile(key, "utf8"), certificate: await readFile(certificate, "utf8") };
}

function added(extensions: readonly string[]): string[] {
  return extensions.flatMap((one) => ["-addext", one]);
}

async function withFolder<T>(folder: string, action: (work: string) => Promise<T>): Promise<T> {
  const work = await mkdtemp(join(folder, "new-"));
  try {
    return await action(work);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
