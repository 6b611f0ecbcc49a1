import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it, type TestContext } from "node:test";
import { connect } from "../../cli/connection.ts";
import { purgeFrom, refuseSiteWithFile, renderKept } from "../../cli/purge.ts";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";
import { startSshServer } from "./stand-ins/ssh-server.ts";

const folder = mkdtempSync(join(tmpdir(), "chillbox-purge-"));
after(() => rmSync(folder, { recursive: true }));

const kept = [
  { what: "data", path: "/var/lib/hello/api", bytes: 5_500_000 },
  { what: "log", path: "/var/log/hello-\u001bapi", bytes: 4096 },
  { what: "user", path: "hello", bytes: 0 },
];

/** A server on which `doas` notes its input and answers with what is kept; the program's words go to `said`. */
async function serverThatKeeps(t: TestContext, list: readonly object[]) {
  const bin = mkdtempSync(join(folder, "bin-"));
  const answer = JSON.stringify({ result: "there", kept: list });
  writeFileSync(join(bin, "doas"), `#!/bin/sh\necho "$* $(cat)" >>${bin}/asked\nprintf '%s' '${answer}'\n`);
  chmodSync(join(bin, "doas"), 0o755);
  const path = process.env.PATH;
  process.env.PATH = `${bin}:${path}`;
  t.after(() => {
    process.env.PATH = path;
  });
  const { port, hostKey, privateKey } = await startSshServer(t);
  const client = await connect({ host: "127.0.0.1", port, user: "tester", hostKey, privateKey });
  t.after(() => client.end());
  let said = "";
  t.mock.method(process.stdout, "write", (text: string) => {
    said += text;
    return true;
  });
  return { client, said: () => said, asked: () => readFileSync(join(bin, "asked"), "utf8").trim().split("\n") };
}

const look = 'chillbox-site purge {"slug":"hello","look":true}';

describe("site purge", () => {
  it("shows what there is before it removes anything", async (t) => {
    const { client, said, asked } = await serverThatKeeps(t, kept);
    await purgeFrom(client, { stack: "local", slug: "hello", yes: true });
    t.mock.restoreAll();
    assert.deepEqual(asked(), [look, 'chillbox-site purge {"slug":"hello"}']);
    assert.match(
      said(),
      /keeps of hello:\n {2}data +\/var\/lib\/hello\/api +5\.2 MiB\n[\s\S]*All of it is removed\.\n$/,
    );
  });

  it("removes nothing where nobody can be asked", async (t) => {
    const { client, asked } = await serverThatKeeps(t, kept);
    const refusal = purgeFrom(client, { stack: "local", slug: "hello", yes: false });
    await assert.rejects(refusal, /Nothing was removed: there is no terminal.*site purge hello --yes/);
    t.mock.restoreAll();
    assert.deepEqual(asked(), [look]);
  });

  it("says so when there is nothing", async (t) => {
    const { client, said, asked } = await serverThatKeeps(t, []);
    await purgeFrom(client, { stack: "local", slug: "hello", yes: true });
    t.mock.restoreAll();
    assert.deepEqual(asked(), [look]);
    assert.equal(said(), "The server of stack local keeps nothing of hello.\n");
  });

  it("refuses a site that the stack's folder of sites still has", async () => {
    const settings = { ...localCloudSettings(), repository: folder };
    mkdirSync(join(folder, "sites"));
    mkdirSync(join(folder, "others"));
    writeFileSync(join(folder, "sites/hello.site.json"), "{}");
    writeFileSync(join(folder, "Pulumi.other.yaml"), "config:\n  chillbox:sitesFolder: others\n");
    const refusal = refuseSiteWithFile(settings, { stack: "local", slug: "hello" });
    await assert.rejects(refusal, /hello is deployed: .*sites\/hello\.site\.json is its site file\. Take it out/);
    await refuseSiteWithFile(settings, { stack: "local", slug: "hell" });
    await refuseSiteWithFile(settings, { stack: "other", slug: "hello" });
  });

  it("shows sizes, and nothing that a terminal would obey", () => {
    const big = { what: "data", path: "/b", bytes: 3 * 2 ** 30 };
    assert.equal(
      renderKept([...kept, big]),
      [
        "  data  /var/lib/hello/api   5.2 MiB",
        "  log   /var/log/hello-?api  4 KiB",
        "  user  hello",
        "  data  /b                   3.0 GiB",
        "",
      ].join("\n"),
    );
  });
});
