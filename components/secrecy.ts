import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";

/**
 * Makes every input and output of every resource secret, so that state, its history and its backups show types, names and ids but
 * no value. Transforms reach neither `registerOutputs` nor stack outputs: these are wrapped by hand.
 *
 * Outputs of a resource are known by name from `lib/provider-outputs.json`.
 */
export function keepEverythingSecret(): void {
  const outputsOf = readOutputNames();
  pulumi.runtime.registerStackTransformation(({ type, props, opts }) => {
    // Components hand no inputs to `super`. A provider's are wrapped where it is made: here they are many, unset, and would be sent.
    if (type.startsWith("chillbox:") || type.startsWith("pulumi:providers:")) return undefined;
    const outputs = outputsOf[type];
    if (outputs === undefined) {
      throw new Error(`lib/provider-outputs.json has no ${type}: its outputs would not be secret`);
    }
    const custom = opts as pulumi.CustomResourceOptions;
    const known = custom.additionalSecretOutputs ?? [];
    return {
      props: Object.fromEntries(
        Object.entries(props).map(([name, value]) => [name, value === undefined ? value : pulumi.secret(value)]),
      ),
      opts: { ...opts, additionalSecretOutputs: [...new Set([...known, ...outputs])] },
    };
  });
}

function readOutputNames(): Record<string, string[]> {
  return JSON.parse(readFileSync(join(import.meta.dirname, "..", "lib", "provider-outputs.json"), "utf8"));
}
