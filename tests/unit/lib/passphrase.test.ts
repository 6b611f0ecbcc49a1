import assert from "node:assert/strict";
import { chmodSync, chownSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { checkPassphraseFile, checkPassphraseSource, explainPassphrase } from "../../../lib/passphrase.ts";
import { UserError } from "../../../lib/user-error.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();

function passphraseFile(content: string, mode = 0o600): string {
  const file = join(folder, "passphrase");
  writeFileSync(file, content);
  chmodSync(file, mode);
  return file;
}

test("a file of this user alone is good", () => {
  const file = passphraseFile("some words\n");
  checkPassphraseFile(file);
  checkPassphraseSource({ PULUMI_CONFIG_PASSPHRASE_FILE: file }, "production");
  // Pulumi asks at the terminal then.
  checkPassphraseSource({}, "production");
  checkPassphraseSource({ PULUMI_CONFIG_PASSPHRASE_FILE: "" }, "production");
});

for (const mode of [0o640, 0o604, 0o644, 0o620, 0o610]) {
  test(`a file of mode ${mode.toString(8)} is refused with the way out`, () => {
    const file = passphraseFile("some words\n", mode);
    assert.throws(
      () => checkPassphraseFile(file),
      (error: Error) => {
        assert.ok(error instanceof UserError);
        assert.match(error.message, new RegExp(`mode 0${mode.toString(8)}[\\s\\S]*chmod 600 ${file}`));
        return true;
      },
    );
  });
}

test("another user's file, an empty one and a missing one are refused", () => {
  const file = passphraseFile("some words\n");
  chownSync(file, 65534, 65534);
  assert.throws(() => checkPassphraseFile(file), /belongs to user 65534, and you are user 0.*\n {2}chown 0 /);
  chownSync(file, 0, 0);
  assert.throws(() => checkPassphraseFile(passphraseFile(" \n")), /is empty/);
  assert.throws(() => checkPassphraseFile(join(folder, "none")), /is not there/);
});

for (const value of ["some words", ""]) {
  test(`PULUMI_CONFIG_PASSPHRASE="${value}" is refused, beside a file too`, () => {
    const environment = { PULUMI_CONFIG_PASSPHRASE: value, PULUMI_CONFIG_PASSPHRASE_FILE: passphraseFile("words\n") };
    assert.throws(
      () => checkPassphraseSource(environment, "production"),
      (error: Error) => {
        assert.match(
          error.message,
          /unset PULUMI_CONFIG_PASSPHRASE\n.*PULUMI_CONFIG_PASSPHRASE_FILE=.*chillbox-production-/,
        );
        assert.ok(value === "" || !error.message.includes(value));
        return true;
      },
    );
  });
}

test("what Pulumi says of a passphrase is explained, and nothing else", () => {
  const environment = { PULUMI_CONFIG_PASSPHRASE_FILE: "/a/file" };
  const table: [string, RegExp | undefined][] = [
    [
      "error: getting stack configuration: get stack secrets manager: incorrect passphrase",
      /in \/a\/file is not the one/,
    ],
    ["error: failed to decrypt: incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE to", /in \/a\/file is not/],
    ["error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE or", /export PULUMI_CONFIG_PASSPHRASE_FILE=/],
    ["error: no stack named 'production' found", undefined],
  ];
  for (const [said, expected] of table) {
    const way = explainPassphrase(said, "production", environment);
    if (expected === undefined) assert.equal(way, undefined);
    else assert.match(way ?? "", expected);
  }
});
