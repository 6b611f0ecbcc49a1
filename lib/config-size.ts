/**
 * Most bytes of decrypted configuration. Pulumi hands all of it to the program in one variable of its environment, of which Linux takes
 * 128 KiB; quotes in it grow on the way.
 */
const limit = 100 * 1024;

/** Bytes of a stack's configuration, as Pulumi hands it to the program: the text of each key, objects as JSON. */
export function configBytes(config: Readonly<Record<string, string>>): number {
  return Buffer.byteLength(JSON.stringify(config));
}

/**
 * What is wrong with a configuration that is too large, and what to do.
 * @returns `undefined` when it is not
 */
export function configProblem(config: Readonly<Record<string, string>>): string | undefined {
  const bytes = configBytes(config);
  if (bytes <= limit) return undefined;
  const largest = Object.entries(config).sort(([, a], [, b]) => b.length - a.length)[0]?.[0] ?? "";
  return tooLarge(bytes, largest);
}

/** The words for it. @param largest the key with the most bytes */
export function tooLarge(bytes: number, largest: string): string {
  return [
    `The stack's configuration is ${Math.ceil(bytes / 1024)} KiB when it is decrypted; at most ${limit / 1024} KiB fit, because Pulumi hands it over by environment.`,
    `The largest key is ${largest}. \`npx chillbox secrets\` tells what each secret takes up; \`npx chillbox secrets rm SLUG SERVICE\` removes one.`,
    "A large file can lie in the site's release, encrypted by you with a key that is a secret.",
  ].join("\n");
}
