import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { buildImage } from "../../image/build.ts";
import { TestHost } from "./host.ts";

const host = new TestHost();

before(
  async () => {
    const image = await buildImage();
    await host.prepare(image.path, {});
    host.setMetadata(metadata());
  },
  { timeout: 180_000 },
);

after(() => host.close());

function metadata(): Record<string, unknown> {
  const key = readFileSync(host.path("provisional"), "utf8");
  return {
    hostname: "first.example.test",
    "public-keys": host.text("key.pub"),
    "interfaces/private/0/ipv4/address": host.vpcAddress,
    "interfaces/private/0/ipv4/netmask": "255.255.255.0",
    "user-data": `#!/bin/sh
set -eu
umask 077
mkdir -p /run/chillbox/host-key
cat > /run/chillbox/host-key/ssh_host_ed25519_key <<'KEY'
${key}KEY
`,
  };
}

test("a power-on ends with ssh by key in under five seconds", async (t) => {
  await host.boot();
  const milliseconds = await host.waitForSsh();
  t.diagnostic(`power-on to ssh: ${milliseconds} ms`);
  assert.ok(milliseconds < 5000, `${milliseconds} ms`);
});
