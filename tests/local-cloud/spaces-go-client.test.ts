import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { execa } from "execa";
import { startTestSpaces, type TestSpaces } from "./spaces-support.ts";

let spaces: TestSpaces;
before(async () => {
  spaces = await startTestSpaces();
});
after(() => spaces.stop());

// The official Pulumi plugin is made of aws-sdk-go v1, which is set up here as it sets it up; see clients/spaces/spaces_test.go.
test("aws-sdk-go v1 goes through every call of the official plugin, by virtual host through the proxy", async () => {
  const { stdout, exitCode } = await execa("go", ["test", "-count=1", "-v", "./spaces"], {
    cwd: join(import.meta.dirname, "clients"),
    all: true,
    reject: false,
    env: {
      HTTP_PROXY: `http://127.0.0.1:${spaces.port}`,
      NO_PROXY: "",
      SPACES_ENDPOINT: "http://nyc3.spaces.test",
      SPACES_ACCESS_KEY_ID: spaces.full.accessKey,
      SPACES_SECRET_ACCESS_KEY: spaces.full.secretKey,
    },
  });
  assert.equal(exitCode, 0, stdout);
  assert.equal(stdout.match(/^--- PASS/gm)?.length, 6, stdout);
});
