import { basename, extname } from "node:path";
import { lintSource } from "@secretlint/core";
import { creator as rule } from "@secretlint/secretlint-rule-preset-recommend";

/** Something that looks like a secret. What it says stands nowhere in here. */
export interface FoundSecret {
  /** The rule that knows it, such as `aws`. */
  readonly rule: string;
  /** What the rule calls it, such as `AWSSecretAccessKey`. */
  readonly name: string;
  readonly line: number;
}

const prefix = "@secretlint/secretlint-rule-";
const config = {
  rules: [
    {
      id: `${prefix}preset-recommend`,
      rule,
      // An access key's id is no secret alone, but where it stands its secret is not far.
      rules: [{ id: `${prefix}aws`, options: { enableIDScanRule: true } }],
    },
  ],
};

/** Looks for secrets in a text, by the recommended rules of secretlint. Its comments (`secretlint-disable-line`) leave lines out. */
export async function findSecrets(path: string, content: string): Promise<FoundSecret[]> {
  const source = { filePath: basename(path), content, ext: extname(path), contentType: "text" as const };
  const { messages } = await lintSource({ source, options: { config, maskSecrets: true } });
  return messages.map(({ ruleId, messageId, loc }) => {
    return { rule: ruleId.replace(prefix, ""), name: messageId, line: loc.start.line };
  });
}
