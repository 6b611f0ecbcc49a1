import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { renderFirstBoot } from "../../../lib/first-boot.ts";
import { makeSshKeyPair, withoutComment } from "../../../lib/ssh-keys.ts";
import { renderUserData } from "../../../lib/user-data.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
const { privateKey, publicKey } = makeSshKeyPair("chillbox-test");
const identity = {
  server: "chillbox-test-1",
  serverName: "box.test",
  project: "chillbox",
  stack: "test",
  generation: 1,
};

test("an ssh key pair is what OpenSSH takes it for", () => {
  const path = join(folder, "key");
  writeFileSync(path, privateKey, { mode: 0o600 });
  assert.equal(
    withoutComment(execFileSync("ssh-keygen", ["-y", "-f", path], { encoding: "utf8" })),
    withoutComment(publicKey),
  );
  assert.match(publicKey, /^ssh-ed25519 \S+ chillbox-test$/);
});

test("user-data lays down key and envelope, for root alone", () => {
  const envelope = Buffer.from(Array.from({ length: 5000 }, (_, index) => index % 251));
  const script = renderUserData({ hostKey: privateKey, envelope });
  assert.match(script, /^#!\/bin\/sh\n/);
  execFileSync("sh", ["-c", script.replaceAll("/run/chillbox", join(folder, "run"))]);
  assert.equal(readFileSync(join(folder, "run/host-key/ssh_host_ed25519_key"), "utf8"), privateKey);
  assert.deepEqual(readFileSync(join(folder, "run/envelope.der")), envelope);
  assert.equal(statSync(join(folder, "run/envelope.der")).mode & 0o777, 0o600);
  assert.equal(statSync(join(folder, "run/host-key")).mode & 0o777, 0o700);
});

test("user-data that DigitalOcean would refuse is refused here", () => {
  assert.throws(() => renderUserData({ hostKey: privateKey, envelope: Buffer.alloc(60_000) }), /more than 65536/);
});

test("the first-boot script is a script, and names the server", () => {
  const script = renderFirstBoot({ identity, publicKey });
  execFileSync("sh", ["-n"], { input: script });
  assert.match(script, new RegExp(`\\n${publicKey.replaceAll(/[+/]/g, "\\$&")}\\n`));
  assert.match(script, /\nchillbox-test-1\n/);
  assert.ok(script.includes(`\n${JSON.stringify({ format: 1, ...identity })}\n`));
});

test("values that would need quoting are refused", () => {
  for (const server of ["a b", "$(id)", "a'b", "-a", ""]) {
    assert.throws(() => renderFirstBoot({ identity: { ...identity, server }, publicKey }), /is not a host name/);
  }
  assert.throws(() => renderFirstBoot({ identity, publicKey: `${publicKey}\nroot::0` }), /not an ed25519 public key/);
});
