import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { ImageHost } from "./api/image-host.ts";
import { TestApi, token } from "./api/support.ts";

const clients = join(import.meta.dirname, "clients");

test("DigitalOcean's own Go client goes through every call", { timeout: 300_000 }, async (t) => {
  const host = await ImageHost.start(t);
  const api = await TestApi.start(t, { spacesProxy: host.address });
  const disk = join(api.folder, "disk.raw");
  execFileSync("truncate", ["--size=16M", disk]);
  execFileSync("mkfs.ext4", ["-q", disk]);
  host.files.set("/alpine.img.gz", { body: gzipSync(readFileSync(disk)) });

  const environment = {
    ...process.env,
    CHILLBOX_API_URL: api.url,
    CHILLBOX_API_TOKEN: token,
    CHILLBOX_IMAGE_URL: "http://images.nyc3.spaces.test/alpine.img.gz",
  };
  const run = promisify(execFile)("go", ["test", "-count=1", "-v", "./godo/"], { cwd: clients, env: environment });
  const { stdout } = await run.catch((error: { stdout: string; stderr: string }) => {
    assert.fail(`go test failed:\n${error.stdout}\n${error.stderr}`);
  });
  const passed = stdout.match(/^\s*--- PASS/gm)?.length ?? 0;
  assert.ok(passed >= 20, `${passed} Go tests passed:\n${stdout}`);
  assert.doesNotMatch(stdout, /--- SKIP/);
  t.diagnostic(`${passed} Go tests passed`);
  assert.deepEqual(
    api.logged.filter((line) => !line.includes("cannot be imported")),
    [],
  );
});
