import * as pulumi from "@pulumi/pulumi";

/**
 * Makes every input and output of every resource secret, so that state, its history and its backups show types, names and ids but
 * no value; `docs/security.md` lists what is left. Transforms reach neither `registerOutputs` nor stack outputs: these are wrapped by hand.
 *
 * No list of names is kept: the SDK's classes, which Pulumi generates from the provider's schema, hand over a property for each input and each
 * output, unset where it is an output alone (`tests/components/secrecy.test.ts` looks whether all of them still do).
 */
export function keepEverythingSecret(): void {
  pulumi.runtime.registerStackTransformation(({ type, props, opts }) => {
    // Components hand no inputs to `super`. A provider's are wrapped where it is made: here they are many, unset, and would be sent.
    if (type.startsWith("chillbox:") || type.startsWith("pulumi:providers:")) return undefined;
    const custom = opts as pulumi.CustomResourceOptions;
    const known = custom.additionalSecretOutputs ?? [];
    return {
      props: Object.fromEntries(
        Object.entries(props).map(([name, value]) => [name, value === undefined ? value : pulumi.secret(value)]),
      ),
      opts: { ...opts, additionalSecretOutputs: [...new Set([...known, ...Object.keys(props)])] },
    };
  });
}
