import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { SecretsList } from "../../cli/secrets-list.ts";
import { sha256 } from "../../lib/archive.ts";
import { readCredentials } from "../../local-cloud/credentials.ts";
import { get } from "../end-to-end/get.ts";
import { type Outcome, ProjectCopy, repository } from "../end-to-end/project-copy.ts";
import { killAt, killWhen } from "./kill-laptop.ts";

/** Secrets from the keyboard to the services, in one stack: each step finds what the one before it left. */
describe("secrets of a site", async () => {
  const copy = await ProjectCopy.make();
  const at = (host: string, path: string) => `http://${host}.localhost:${copy.settings.ports.gateway}${path}`;
  const first = `  it's "first" = #1 \\ $HOME \`id\`\r\n\tgrüße 🐘 \n `;
  const whole = randomBytes(5000);

  before(() => {
    process.stderr.write(`security: the copy is ${copy.folder}\n`);
    for (const name of ["vault", "vault.site.json"]) {
      cpSync(join(repository, "tests/sites", name), join(copy.folder, "sites", name), { recursive: true });
    }
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    copy.remove();
  });

  it("are asked for by name and command, and what needs them waits", async () => {
    // The key that they will be sealed to is one key, however often the laptop dies while it is made and published.
    await killAt(copy, ["up", "--yes"], "server-1-key-1 creating", 1000);
    await killAt(copy, ["up", "--yes"], "server-1-key-publication creating", 0);
    const said = await chillbox("up", "--yes");
    assert.match(said, /warning: vault keys waits for its secrets, keys\.cfg/);
    assert.doesNotMatch(said, /pending operation/, "what was killed was made again, so that nobody is warned of it");
    assert.equal((await get(at("vault.test", "/"))).status, 200);
    for (const path of ["/keys/", "/file/"]) await isWaiting(path);
    assert.equal(published(), (await unlockOutput()).publicKey);
    const listed = await chillbox("secrets");
    assert.match(listed, /vault +keys +keys\.cfg +not set +waits for it/);
    assert.match(listed, /pulumi config set --secret --path 'secrets\.vault\.keys\.KEY' --stack local/);
    assert.match(listed, /npx chillbox secrets set vault file <FILE/);
    assert.match(await chillbox("status"), /vault keys waits for its secrets: npx chillbox secrets/);
  });

  it("are refused when nobody wants them, there are none, or they are too large", async () => {
    const config = copy.read("Pulumi.local.yaml");
    const refused = async (words: string, content: Buffer, why: RegExp) => {
      const { exitCode, output } = await setFrom(words, content);
      assert.equal(exitCode, 1, output);
      assert.match(output, why);
      assert.doesNotMatch(output, /\n\s+at .*:\d+:\d+/);
    };
    await refused("hello api", whole, /No service "api" of hello has a "secrets_config"/);
    await refused("vault keyz", whole, /Did you mean "keys"\?/);
    await refused("vault keys", Buffer.alloc(0), /Standard input is empty/);
    await refused("vault file", randomBytes(80_000), /is 10\d KiB when it is decrypted.*\n.*\n.*\nNothing was changed/);
    assert.equal(copy.read("Pulumi.local.yaml"), config);
  });

  it("reach the services byte for byte, by key and as a whole file, and are told to nobody", async () => {
    await setKey("KEY_ONE", first);
    await mustSet("vault file", whole);
    await killAt(copy, ["up", "--yes"], "site-vault-secrets-keys creating", 100);
    for (const path of ["/keys/", "/file/"]) await isWaiting(path);
    await killAt(copy, ["up", "--yes"], "site-vault-secrets-put creating", 500);
    // The server goes on by itself or not at all; a service that runs has all of its secret.
    const answers = await Promise.all(["/keys/", "/file/"].map((path) => get(at("vault.test", path))));
    const [keys, file] = answers.map(({ status, text }) => (status === 200 ? JSON.parse(text) : undefined));
    if (keys) assert.deepEqual(keys.digests, { KEY_ONE: sha256Of(first) });
    if (file) assert.equal(file.sha256, sha256(whole));
    const said = [await chillbox("secrets"), await chillbox("up", "--yes"), await chillbox("secrets", "--json")];
    await knows(first, whole);
    const list = JSON.parse(said[2] ?? "") as SecretsList;
    assert.deepEqual(
      list.secrets.map(({ service, set, keys, server }) => [service, set, keys, server?.state]),
      [
        ["keys", "keys", ["KEY_ONE"], "open"],
        ["file", "file", undefined, "open"],
      ],
    );
    for (const text of [...said, copy.read("Pulumi.local.yaml")]) {
      for (const secret of ['it\'s "first"', "first", whole.toString("base64").slice(0, 40)]) {
        assert.ok(!text.includes(secret));
      }
    }
  });

  it("are set as a whole or not at all, however often the laptop dies on the way", async () => {
    const before = copy.read("Pulumi.local.yaml");
    const temporary = () => readdirSync(copy.folder).filter((name) => /^Pulumi\.local\.yaml\./.test(name));
    const other = randomBytes(20);
    const steps: Readonly<Record<string, () => boolean>> = {
      begin: () => true,
      "encrypt it": () => temporary().length > 0,
      "check its size": () => temporary().some((name) => copy.read(name) !== before),
      "put it in place": () => copy.read("Pulumi.local.yaml") !== before,
    };
    for (const [step, isTime] of Object.entries(steps)) {
      await killWhen(copy, ["secrets", "set", "vault", "file"], isTime, { input: other });
      const now = copy.read("Pulumi.local.yaml");
      assert.equal(now !== before, step === "put it in place", step);
    }
    assert.equal((await knownFile()).sha256, sha256(whole), "the server has what it had");
    await mustSet("vault file", whole);
    assert.deepEqual(temporary(), []);
  });

  it("change for one service without a lost request, however often the laptop dies on the way", async () => {
    const startedFile = (await knownFile()).started;
    await setKey("KEY_ONE", "second");
    const visitors = visit([sha256Of(first), sha256Of("second")]);
    await killAt(copy, ["up", "--yes"], "site-vault-secrets-keys updating");
    await killAt(copy, ["up", "--yes"], "site-vault-secrets-put updating", 1000);
    await chillbox("up", "--yes");
    await visitors.end();
    await knows("second", whole);
    assert.equal((await knownFile()).started, startedFile, "the other service was left alone");
  });

  it("are locked after a restart, while sites without any answer; unlock brings them back, interrupted or not", async () => {
    await powerCycle();
    await until(async () => (await get(at("hello.test", "/api/"))).status === 200);
    for (const path of ["/keys/", "/file/"]) assert.match((await get(at("vault.test", path))).text, /maintenance/);
    assert.match(await chillbox("secrets"), /vault +keys +keys\.cfg +KEY_ONE +locked[\s\S]*npx chillbox unlock/);
    assert.match(await chillbox("status"), /vault file locked: npx chillbox unlock/);
    assert.equal(await onServer("find /run/tmp/chillbox_secrets -type f"), "");
    await killAt(copy, ["unlock"], "Open the secrets");
    await chillbox("unlock");
    await knows("second", whole);
    assert.match(await chillbox("unlock"), /Nothing was locked/);
    assert.doesNotMatch(await chillbox("status"), /locked/);
  });

  it("move to another key of the server, however often the laptop dies on the way, and nothing restarts", async () => {
    const [keys, file] = [(await known()).started, (await knownFile()).started];
    await killAt(copy, ["rotate-key"], "server-1-key-passphrase-2 creating", 0);
    await killAt(copy, ["rotate-key"], "server-1-key-2 creating", 1500);
    await killAt(copy, ["rotate-key"], "server-1-key-publication updating", 0);
    await killAt(copy, ["rotate-key"], "site-vault-secrets-put updating", 500);
    await killAt(copy, ["rotate-key"], "server-1-key-1 deleting", 0);
    await chillbox("up", "--yes");
    const list = JSON.parse(await onServer("chillbox-server-key list")) as { number: number; sites: string[] }[];
    assert.deepEqual(
      list.map(({ number, sites }) => [number, sites]),
      [[2, ["vault"]]],
    );
    assert.equal(published(), (await unlockOutput()).publicKey);
    await knows("second", whole);
    assert.deepEqual([(await known()).started, (await knownFile()).started], [keys, file]);
  });

  it("go when they are removed, from the server too", async () => {
    await chillbox("secrets", "rm", "vault", "file");
    await chillbox("up", "--yes");
    assert.match((await get(at("vault.test", "/file/"))).text, /maintenance/);
    assert.equal((await known()).digests.KEY_ONE, sha256Of("second"));
    const files = await onServer("find /run/tmp/chillbox_secrets -type f");
    assert.equal(files.trim(), "/run/tmp/chillbox_secrets/vault/keys/keys.cfg");
    assert.match(await chillbox("secrets"), /vault +file +file\.bin +not set +waits for it/);
  });

  /** Runs a command that must not fail. */
  async function chillbox(...words: string[]): Promise<string> {
    const { exitCode, output } = await copy.chillbox(words);
    assert.equal(exitCode, 0, output);
    return output;
  }

  function setFrom(words: string, content: Buffer): Promise<Outcome> {
    writeFileSync(join(copy.folder, "input"), content);
    return copy.run("sh", ["-c", `exec node cli/chillbox.mjs secrets set ${words} <input`]);
  }

  async function mustSet(words: string, content: Buffer): Promise<void> {
    const { exitCode, output } = await setFrom(words, content);
    assert.equal(exitCode, 0, output);
  }

  /** As a person does it, but for the newline at the end, of which Pulumi strips one. */
  async function setKey(key: string, value: string): Promise<void> {
    writeFileSync(join(copy.folder, "input"), `${value}\n`);
    const words = `pulumi config set --secret --path 'secrets.vault.keys.${key}' --stack local`;
    const { exitCode, output } = await copy.shell(`${words} <input`);
    assert.equal(exitCode, 0, output);
  }

  async function known(): Promise<{ digests: Record<string, string>; started: number }> {
    return JSON.parse((await get(at("vault.test", "/keys/"))).text);
  }

  async function knownFile(): Promise<{ sha256: string; started: number }> {
    return JSON.parse((await get(at("vault.test", "/file/"))).text);
  }

  async function knows(key: string, file: Buffer): Promise<void> {
    assert.deepEqual((await known()).digests, { KEY_ONE: sha256Of(key) });
    assert.equal((await knownFile()).sha256, sha256(file));
  }

  async function isWaiting(path: string): Promise<void> {
    assert.match((await get(at("vault.test", path))).text, /maintenance/);
  }

  async function unlockOutput(): Promise<{ publicKey: string; hostName: string }> {
    await copy.shell("umask 077; pulumi stack output --stack local --show-secrets --json unlock >unlock.json");
    return JSON.parse(copy.read("unlock.json"));
  }

  /** Where other tools look for the server's public key. */
  function published(): string {
    const buckets = join(copy.folder, ".chillbox/cloud/spaces");
    const found = readdirSync(buckets, { recursive: true }).filter((name) => String(name).endsWith(".public.pem"));
    assert.equal(found.length, 1, found.join("\n"));
    return readFileSync(join(buckets, String(found[0])), "utf8");
  }

  /** Asks on and on: each answer is one of a whole secret. */
  function visit(digests: readonly string[]): { end(): Promise<void> } {
    let goesOn = true;
    let count = 0;
    const asking = (async () => {
      for (; goesOn; count += 1) {
        const { status, text } = await get(at("vault.test", "/keys/"));
        assert.equal(status, 200, text);
        assert.ok(digests.includes((JSON.parse(text) as { digests: Record<string, string> }).digests.KEY_ONE ?? ""));
        await sleep(50);
      }
    })();
    // A failure is told at the end.
    asking.catch(() => {});
    return {
      async end() {
        goesOn = false;
        await asking;
        assert.ok(count > 20, `${count} answers`);
      },
    };
  }

  async function onServer(command: string): Promise<string> {
    return chillbox("ssh", "--", `doas ${command}`);
  }

  async function powerCycle(): Promise<void> {
    const token = (await readCredentials(copy.settings))?.token ?? "";
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const { droplets } = (await (await fetch(`${copy.settings.apiEndpoint}/v2/droplets`, { headers })).json()) as {
      droplets: { id: number }[];
    };
    const address = `${copy.settings.apiEndpoint}/v2/droplets/${droplets[0]?.id}/actions`;
    const answer = await fetch(address, { method: "POST", headers, body: JSON.stringify({ type: "power_cycle" }) });
    const { action } = (await answer.json()) as { action: { id: number } };
    await until(async () => {
      const path = `${copy.settings.apiEndpoint}/v2/actions/${action.id}`;
      const found = (await (await fetch(path, { headers })).json()) as { action: { status: string } };
      return found.action.status === "completed";
    });
  }
});

function sha256Of(text: string): string {
  return sha256(Buffer.from(text));
}

async function until(look: () => Promise<boolean>, seconds = 60): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await look().catch(() => false)); await sleep(250)) {
    if (Date.now() > end) throw new Error(`it did not come within ${seconds} s`);
  }
}
