import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import type { Command } from "commander";
import { stackOption } from "../../cli/arguments.ts";
import { connect, run } from "../../cli/connection.ts";
import { makeSshKeyPair } from "../../lib/ssh-keys.ts";
import { ProjectCopy, repository } from "../end-to-end/project-copy.ts";
import { CanarySearch } from "./canary.ts";
import { api, type Droplet } from "./droplet.ts";
import { Impostor, openMessages } from "./impostor.ts";
import { stackSecrets } from "./stack-secrets.ts";

const mismatch = /host key mismatch: \S+ answers with another host key/;
const words = /answers with another host key than the stack knows.*Nothing was sent\. What to do: docs\/security\.md/;

/** Every command with `--stack`, and how it is tried; without words those that ask nothing of a server. */
const commands: Readonly<Record<string, readonly string[]>> = {
  status: [],
  log: ["hello"],
  logs: ["hello"],
  rollback: ["hello"],
  deploy: ["hello"],
  ssh: ["--", "cat"],
  "site purge": ["shop", "--yes"],
  "secrets list": [],
  unlock: [],
  certs: [],
  update: ["--yes"],
  "rotate-key": [],
};
const withoutServer = ["secrets set", "secrets rm", "secrets adopt"];

describe("a host with another key in the server's place", async () => {
  const copy = await ProjectCopy.make();
  let impostor: Impostor;
  /** Connections before the first that must not tell anything. */
  let known = 0;

  before(async () => {
    const outcome = await copy.chillbox(["up", "--yes"]);
    assert.equal(outcome.exitCode, 0, outcome.output);
    impostor = await Impostor.make(copy.settings);
    impostor.takeOver();
  });

  after(async () => {
    await copy.chillbox(["down"]);
    await copy.chillbox(["cloud", "stop"]);
    copy.remove();
  });

  it("would let everybody in and keep all that it is told", async () => {
    const { droplets } = await api<{ droplets: Droplet[] }>(copy.settings, "GET", "droplets");
    const host = droplets
      .find(({ name }) => name === "chillbox-local-1")
      ?.networks.v4.find((each) => each.type === "public");
    const { privateKey } = makeSshKeyPair("anybody");
    const client = await connect({
      host: host?.ip_address ?? "",
      user: "chillbox",
      privateKey,
      hostKey: impostor.hostKey,
    });
    assert.equal((await run(client, "doas chillbox-unlock", "something secret")).code, 0);
    client.end();
    const { received, log, input } = impostor.kept();
    known = received.length;
    assert.equal(input, "something secret");
    assert.match(log, /userauth-request for user chillbox/);
    assert.ok(openMessages(received.at(-1) ?? Buffer.alloc(0)).includes(21), "it began to encrypt");
  });

  it("is refused by every command that connects", async () => {
    const all = [...Object.keys(commands), ...withoutServer];
    assert.deepEqual(await commandsWithStack(), all.sort(), "this test knows every command");
    for (const [name, rest] of Object.entries(commands)) {
      const { exitCode, output } = await copy.chillbox([...name.split(" "), ...rest]);
      assert.notEqual(exitCode, 0, `${name}: ${output}`);
      assert.match(output, name === "rotate-key" ? mismatch : words, `${name}: ${output}`);
      assert.doesNotMatch(output, /\n\s+at /, "a stack trace is no answer for a person");
    }
  });

  it("gets no manifest", async () => {
    copy.write("sites/hello/VERSION", "1.1.0\n");
    const { exitCode, output } = await copy.chillbox(["up", "--yes"]);
    assert.notEqual(exitCode, 0, output);
    assert.match(output, mismatch);
  });

  it("is not configured", async () => {
    copy.edit("server-scripts/chillbox-status", "#!/bin/sh\n", "#!/bin/sh\n# A change that is to be sent.\n");
    const { exitCode, output } = await copy.chillbox(["up", "--yes"]);
    assert.notEqual(exitCode, 0, output);
    assert.match(output, words);
  });

  it("is not enrolled", async () => {
    const outcome = await copy.shell("pulumi config set serverGeneration 2 --stack local");
    assert.equal(outcome.exitCode, 0, outcome.output);
    const { exitCode, output } = await copy.chillbox(["up", "--yes"]);
    assert.notEqual(exitCode, 0, output);
    assert.match(output, /server-2-enrol[\s\S]*answers with another host key than the stack knows/);
  });

  it("was told nothing: no connection came as far as encryption, none showed a user or a key", async () => {
    const { received, log, input } = impostor.kept();
    const strangers = received.slice(known);
    assert.ok(strangers.length >= Object.keys(commands).length + 3, `${strangers.length} connections`);
    for (const sent of strangers) {
      assert.match(sent.toString("latin1"), /^SSH-2\.0-/);
      const numbers = openMessages(sent);
      // 1: goodbye, 20: what it can do, 30: its half of a key exchange. RFC 4250.
      assert.ok(
        numbers.every((number) => [1, 20, 30].includes(number)),
        numbers.join(" "),
      );
    }
    assert.equal(input, "something secret");
    assert.equal(
      [...log.matchAll(/userauth-request/g)].length,
      [...log.matchAll(/userauth-request for user chillbox/g)].length,
    );
    assert.equal([...log.matchAll(/Accepted publickey/g)].length, 1);
    const search = new CanarySearch(await stackSecrets(copy));
    assert.deepEqual(
      await search.inBytes(Buffer.concat([...strangers, Buffer.from(log + input, "latin1")]), "impostor"),
      [],
    );
  });

  it("is forgotten when the server has its address back: the same commands go on", async () => {
    impostor.giveBack();
    await impostor.remove();
    const { exitCode, output } = await copy.chillbox(["up", "--yes"]);
    assert.equal(exitCode, 0, output);
    const status = await copy.chillbox(["status"]);
    assert.match(status.output, /1\.1\.0/);
  });
});

/** Names of the commands whose `--stack` means a server, such as `site purge`. */
async function commandsWithStack(): Promise<string[]> {
  const { description } = stackOption();
  const files = readdirSync(join(repository, "cli/commands"));
  const found = await Promise.all(
    files.map(async (file) => {
      const { default: command } = (await import(join(repository, "cli/commands", file))) as { default: Command };
      return [command, ...command.commands]
        .filter(({ options }) => options.some((option) => option.description === description))
        .map((each) => (each === command ? each.name() : `${command.name()} ${each.name()}`));
    }),
  );
  return found.flat().sort();
}
