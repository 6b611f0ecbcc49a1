import assert from "node:assert/strict";
import { before, test } from "node:test";
import * as pulumi from "@pulumi/pulumi";
import { failedResource } from "../../components/failures.ts";
import { keepEverythingSecret } from "../../components/secrecy.ts";
import { record, useMocks } from "./mocks.ts";

before(useMocks);

test("every input and output of every resource is secret, of those in components, too", async () => {
  const { Network } = await import("../../components/network.ts");
  const seen: { name: string; props: pulumi.Inputs; opts: pulumi.CustomResourceOptions }[] = [];
  await record(() =>
    pulumi.runtime.runInPulumiStack(async () => {
      keepEverythingSecret();
      // Comes after the other, so it sees what that made of the inputs.
      pulumi.runtime.registerStackTransformation(({ name, type, props, opts }) => {
        if (!type.startsWith("chillbox:")) seen.push({ name, props, opts });
        return undefined;
      });
      const given = { resourceName: "a", region: "nyc3", sshAllowedAddresses: ["::/0"], outbound: [], protect: false };
      new Network("network", given);
    }),
  );
  assert.deepEqual(seen.map(({ name }) => name).sort(), [
    "network-firewall",
    "network-ip",
    "network-tag",
    "network-vpc",
  ]);
  for (const { name, props, opts } of seen) {
    const given = Object.entries(props).filter(([, value]) => value !== undefined);
    assert.ok(given.length > 0, name);
    for (const [key, value] of given) assert.ok(await pulumi.isSecret(pulumi.output(value)), `${name}.${key}`);
    for (const key of Object.keys(props))
      assert.ok(opts.additionalSecretOutputs?.includes(key), `${name}: output ${key}`);
  }
});

test("what follows from a failed resource names that resource alone", () => {
  const table: [string, string | undefined][] = [
    ["resource site-a-install [command:remote:Command] failed to register", "site-a-install"],
    [
      'error serializing property "x": resource image [digitalocean:index/customImage:CustomImage] failed to register',
      "image",
    ],
    ["something else", undefined],
    ["resource x failed to register", undefined],
  ];
  for (const [message, name] of table) assert.equal(failedResource(message), name);
});
