import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { LocalCloudSettings } from "../../lib/local-cloud-settings.ts";
import { UserError } from "../../lib/user-error.ts";
import { gatewayRootFile } from "./authority.ts";
import { acmeFiles, certificatesIn } from "./pebble.ts";

/**
 * The roots of the local cloud as text for a person: where each is, by what it is known, and what it is good for.
 * @param pem the roots themselves
 * @throws UserError when the local cloud has never run
 */
export async function describeRoots(settings: LocalCloudSettings, pem: boolean): Promise<string> {
  const acme = acmeFiles(join(settings.cloud, "acme"));
  const files = [
    {
      file: gatewayRootFile(settings),
      what: `The gateway's root: who trusts it can open https://<domain>.localhost:${settings.ports.gatewayTls}. It is good for names below "localhost" alone.`,
    },
    {
      file: acme.roots,
      what: "The ACME server's roots, the newest last: sites' own certificates on droplets. Its key is thrown away when the local cloud stops.",
    },
  ];
  const texts = await Promise.all(files.map(({ file }) => readFile(file, "utf8").catch(() => "")));
  if (texts.includes("")) {
    throw new UserError("The local cloud has no certificates yet: `npx chillbox cloud start` makes them.");
  }
  if (pem) return texts.join("");
  return files
    .map(({ file, what }, index) => {
      const known = certificatesIn(texts[index] ?? "").map((one) => {
        const { subject, fingerprint256 } = new X509Certificate(one);
        return `  ${subject}\n    SHA-256 ${fingerprint256}`;
      });
      return `${what}\n  ${file}\n${known.join("\n")}\n`;
    })
    .join("\n");
}
