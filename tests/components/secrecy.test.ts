import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

test("every resource of both SDKs hands over each of its outputs by name", () => {
  let resources = 0;
  for (const folder of ["digitalocean", "command/local", "command/remote"]) {
    const at = join(import.meta.dirname, "../../node_modules/@pulumi", folder);
    for (const file of readdirSync(at).filter((name) => name.endsWith(".d.ts"))) {
      const declared = readFileSync(join(at, file), "utf8");
      if (!declared.includes("extends pulumi.CustomResource")) continue;
      const outputs = [...declared.matchAll(/^ {4}readonly (\w+): pulumi\.Output</gm)].map((match) => match[1]);
      const program = readFileSync(join(at, file.replace(".d.ts", ".js")), "utf8");
      const handed = new Set([...program.matchAll(/resourceInputs\["(\w+)"\] =/g)].map((match) => match[1]));
      assert.ok(outputs.length > 0, file);
      for (const output of outputs) assert.ok(handed.has(output), `${folder}/${file}: ${output}`);
      resources++;
    }
  }
  assert.ok(resources > 60, `${resources} resources`);
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
