import { createPrivateKey } from "node:crypto";
import type { ProjectCopy } from "../end-to-end/project-copy.ts";
import type { Canary } from "./canary.ts";

/** A resource of an exported state whose secrets are open. */
interface OpenResource {
  readonly urn: string;
  readonly type: string;
  readonly outputs?: Record<string, unknown>;
}

/** Everything in a copy's stack that nobody else may have, as canaries: what chillbox made, and what opens it. */
export async function stackSecrets(copy: ProjectCopy): Promise<Canary[]> {
  const credentials = JSON.parse(copy.read(".chillbox/cloud/credentials.json")) as Record<string, string>;
  const { exitCode, output } = await copy.shell("pulumi stack export --stack local --show-secrets");
  if (exitCode !== 0) throw new Error(output);
  const { deployment } = JSON.parse(output.slice(output.indexOf("{"))) as { deployment: { resources: OpenResource[] } };
  return [
    textCanary("the API's token", credentials.token),
    textCanary("the account's Spaces secret", credentials.spacesSecretKey),
    textCanary("the stack's passphrase", copy.read(".chillbox/passphrase").trim()),
    ...deployment.resources.flatMap(secretsOf),
  ];
}

/** A canary of a text. */
export function textCanary(name: string, text: string | undefined): Canary {
  if (!text) throw new Error(`there is no ${name}`);
  return { name, value: Buffer.from(text) };
}

function secretsOf({ urn, type, outputs = {} }: OpenResource): Canary[] {
  const name = urn.split("::").at(-1) ?? urn;
  if (type === "digitalocean:index/spacesKey:SpacesKey")
    return [textCanary(`${name}'s secret`, open(outputs.secretKey))];
  if (type !== "command:local:Command") return [];
  const printed = JSON.parse(open(outputs.stdout) || "{}") as { privateKey?: string; hex?: string };
  const key = printed.privateKey ? [{ name: `${name}'s private key`, value: keyCore(printed.privateKey) }] : [];
  // Shorter ones are parts of names.
  const random = (printed.hex?.length ?? 0) >= 64 ? [{ name, value: Buffer.from(printed.hex ?? "", "hex") }] : [];
  return [...key, ...random];
}

/** A value of a state, whose own form of secrets is JSON in an object. */
function open(value: unknown): string {
  return String(JSON.parse((value as { plaintext?: string }).plaintext ?? '""'));
}

/** The bytes that make a private key, however it is written: ed25519's seed, one of RSA's primes. */
function keyCore(pem: string): Buffer {
  if (!pem.includes("OPENSSH")) {
    return Buffer.from(createPrivateKey(pem).export({ format: "jwk" }).p ?? "", "base64url");
  }
  const bytes = Buffer.from(pem.replaceAll(/-----.*-----/g, ""), "base64");
  // PROTOCOL.key: seed and public half are one text of 64 bytes.
  const at = bytes.indexOf(Buffer.from([0, 0, 0, 64])) + 4;
  return bytes.subarray(at, at + 32);
}
