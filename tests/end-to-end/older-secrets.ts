import { publicKeyObjectKey, secretsObjectKey } from "../../lib/names.ts";
import type { StackFacts } from "../../lib/stack-facts.ts";
import { getContent, openSpaces, putObjects } from "../../local-commands/spaces.ts";
import { sealOlder } from "../security/secrets.ts";
import type { ProjectCopy } from "./project-copy.ts";

/**
 * Puts a secrets file into the artifact bucket as a site's own older tools do (site contract, section 8): the server's public key comes out
 * of the bucket, openssl does the rest.
 */
export async function putOlderSecrets(
  copy: ProjectCopy,
  { slug, service, file, content }: { slug: string; service: string; file: string; content: string },
): Promise<void> {
  // Into a file: other programs may warn of this and that beside it.
  const { exitCode, output } = await copy.shell(
    "pulumi stack output --stack local --show-secrets --json >outputs.json",
  );
  if (exitCode !== 0) throw new Error(output);
  const { facts, unlock } = JSON.parse(copy.read("outputs.json")) as {
    facts: StackFacts;
    unlock: { hostName: string };
  };
  const { artifactBucket: bucket, ...target } = facts.buckets;
  const client = openSpaces(target, { HTTP_PROXY: copy.settings.spacesProxy });
  const key = await getContent(client, bucket, publicKeyObjectKey(unlock.hostName));
  if (!key) throw new Error("the server's public key is not in the bucket");
  const encrypted = sealOlder(key.content.toString(), content);
  const object = secretsObjectKey(slug, service, unlock.hostName, file);
  await putObjects(client, bucket, [{ key: object, text: encrypted, acl: "private" }]);
}
