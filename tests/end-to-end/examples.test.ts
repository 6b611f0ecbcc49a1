import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { sha256 } from "../../lib/archive.ts";
import { gatewayRootFile } from "../../local-cloud/acme/authority.ts";
import { readCredentials } from "../../local-cloud/credentials.ts";
import { layOutExamples } from "../sites/lay-out.ts";
import { exampleChecks, exampleStack } from "./example-checks.ts";
import { get } from "./get.ts";
import { putOlderSecrets } from "./older-secrets.ts";
import { ProjectCopy } from "./project-copy.ts";

/** The sites in tests/sites/, which together use every field of the contract, deployed at once by one `up`. */
describe("the example sites", async () => {
  const copy = await ProjectCopy.make();
  const releases = mkdtempSync(join(tmpdir(), "chillbox-releases-"));
  rmSync(join(copy.folder, "sites"), { recursive: true });
  const laidOut = await layOutExamples(join(copy.folder, "sites"), releases);
  // All of them at once: about 25 Python processes and two of Redis.
  copy.edit("Pulumi.yaml", "default: s-1vcpu-512mb-10gb", "default: s-1vcpu-2gb");
  const stack = exampleStack(copy, laidOut.asked);

  before(() => {
    process.stderr.write(`end-to-end: the copy is ${copy.folder}\n`);
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    await laidOut.close();
    copy.remove();
    rmSync(releases, { recursive: true });
  });

  it("are refused until their commands are allowed", async () => {
    const refused = await copy.chillbox(["up", "--yes"]);
    assert.notEqual(refused.exitCode, 0);
    assert.match(refused.output, /make --no-print-directory --directory=assets inspect\.HASH[\s\S]*site allow notes/);
    for (const slug of ["notes", "heritage"]) {
      const outcome = await copy.chillbox(["site", "allow", slug, "--yes"]);
      assert.equal(outcome.exitCode, 0, outcome.output);
    }
  });

  it("are deployed together, warned about and not failed for keys that nobody knows", async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /"color" is not a key that chillbox knows/);
    assert.match(outcome.output, /"git_repo" is not a key that chillbox knows/);
  });

  for (const { site, what, check } of exampleChecks) it(`${site} ${what}`, () => check(stack));

  it("are served by https under a wildcard when `up` ends, and a killed order leaves nothing in DNS", async () => {
    const { gatewayTls: port } = copy.settings.ports;
    const any = `https://any-${Date.now()}.notes.test.localhost:${port}/`;
    assert.match((await get(any, "GET", await readFile(gatewayRootFile(copy.settings), "utf8"))).text, /<h1>Notes/);

    const order = spawn(process.execPath, ["cli/chillbox.mjs", "certs", "--force", "notes"], {
      cwd: copy.folder,
      env: copy.environment,
      stdio: "ignore",
      detached: true,
    });
    const ended = once(order, "exit");
    const noted = () => existsSync(memory) && readFileSync(memory, "utf8").includes('"value"');
    const memory = join(copy.settings.home, "certs-local.json");
    while (!noted() && order.exitCode === null) await sleep(5);
    process.kill(-(order.pid ?? 0), "SIGKILL");
    await ended;
    const outcome = await copy.chillbox(["certs", "--force", "notes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /^notes +\d{4}-\d\d-\d\d +npx chillbox certs/m);
    assert.deepEqual(JSON.parse(readFileSync(memory, "utf8")), { records: [], failures: {} });
    const credentials = await readCredentials(copy.settings);
    const records = await fetch(`${copy.settings.apiEndpoint}/v2/domains/notes.test/records?type=TXT`, {
      headers: { authorization: `Bearer ${credentials?.token}` },
    });
    assert.deepEqual(((await records.json()) as { domain_records: unknown[] }).domain_records, []);
    assert.match((await copy.chillbox(["certs", "nobody"])).output, /no site nobody with a wildcard/);
  });

  it("start what waited as soon as it has its secrets: by key, and a file that older tools encrypted", async () => {
    const key = 'it\'s a "key" # = $HOME\nüber 2 lines ';
    const file = "SMTP_PASSWORD = 'as in 2023'\n";
    assert.match((await get(stack.at("vault.test", "/keys/"))).text, /maintenance/);
    copy.write("key", `${key}\n`);
    const line = "pulumi config set --secret --path 'secrets.vault.keys.EXAMPLE' --stack local <key";
    await putOlderSecrets(copy, { slug: "heritage", service: "mailer", file: "mailer.secrets.cfg", content: file });
    for (const outcome of [
      await copy.shell(line),
      await copy.chillbox(["secrets", "adopt", "heritage", "mailer"]),
      await copy.chillbox(["up", "--yes"]),
    ]) {
      assert.equal(outcome.exitCode, 0, outcome.output);
    }
    const { digests } = JSON.parse((await get(stack.at("vault.test", "/keys/"))).text);
    assert.deepEqual(digests, { EXAMPLE: sha256(Buffer.from(key)) });
    assert.equal((await get(stack.at("heritage.test", "/mailer/"))).text, sha256(Buffer.from(file)));
  });

  it("change nothing the second time", async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    assert.match(outcome.output, /\d+ unchanged/);
    assert.doesNotMatch(outcome.output, /\d+ (created|updated|replaced|deleted|changed)/);
  });
});
