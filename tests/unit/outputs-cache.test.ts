import assert from "node:assert/strict";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, beforeEach, describe, it } from "node:test";
import { cachedOutputs, forgetOutputs, type OutputsOf, privateFolders } from "../../cli/outputs-cache.ts";

describe("a stack's outputs are kept", () => {
  const disk = mkdtempSync(join(tmpdir(), "chillbox-outputs-"));
  // In memory, as it has to be.
  const memory = mkdtempSync("/dev/shm/chillbox-outputs-");
  const folder = join(memory, "own");
  const of: OutputsOf = { stateFile: join(disk, "local.json"), passphraseFile: join(disk, "passphrase") };
  const secret = '{"connection": "the key to everything"}';
  let asked = 0;
  after(() => {
    for (const each of [disk, memory]) rmSync(each, { recursive: true });
  });
  beforeEach(async () => {
    rmSync(folder, { recursive: true, force: true });
    writeFileSync(of.stateFile, "state 1");
    writeFileSync(join(disk, "passphrase"), "passphrase 1\n");
    await outputs();
    asked = 0;
  });

  function outputs(changes: Partial<OutputsOf> = {}, folders = [folder]): Promise<string> {
    const ask = async () => {
      asked += 1;
      return secret;
    };
    return cachedOutputs({ ...of, ...changes }, ask, folders);
  }

  it("until the state changes, and nobody else can read them", async () => {
    assert.equal(await outputs(), secret);
    assert.equal(asked, 0);
    const [name = ""] = readdirSync(folder);
    assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600);
    assert.equal(statSync(folder).mode & 0o777, 0o700);
    assert.ok(!readFileSync(join(folder, name), "latin1").includes("everything"));

    writeFileSync(of.stateFile, "state 2");
    assert.equal(await outputs(), secret);
    assert.equal(asked, 1);
    assert.equal(await outputs(), secret);
    assert.equal(asked, 1, "kept again");
    writeFileSync(of.stateFile, "state 1");
    await outputs();
    assert.equal(asked, 2, "an older state's are not kept beside");
  });

  it("for who has the passphrase", async () => {
    writeFileSync(join(disk, "passphrase"), "passphrase 2\n");
    await outputs();
    assert.equal(asked, 1);
  });

  it("not when somebody has changed a byte of them", async () => {
    const [name = ""] = readdirSync(folder);
    const whole = readFileSync(join(folder, name));
    for (const at of [0, 32, 44, 60, whole.length - 1]) {
      const changed = Buffer.from(whole);
      changed.writeUInt8((changed[at] ?? 0) ^ 1, at);
      writeFileSync(join(folder, name), changed);
      asked = 0;
      assert.equal(await outputs(), secret);
      assert.equal(asked, 1, `byte ${at}`);
    }
    writeFileSync(join(folder, name), whole.subarray(0, 50));
    await outputs();
    assert.equal(asked, 2, "cut off");
  });

  it("not in a folder that somebody else could have prepared, nor on a disk", async () => {
    const other = join(memory, "other");
    const table: [string, string, () => void][] = [
      ["open to others", other, () => mkdirSync(other, { mode: 0o755 })],
      ["a link", other, () => symlinkSync(folder, other)],
      ["missing", join(disk, "missing/at/all"), () => {}],
    ];
    const makeOf = (user: number) => {
      mkdirSync(other, { mode: 0o700 });
      chownSync(other, user, user);
    };
    if (process.getuid?.() === 0) table.push(["of another user", other, () => makeOf(65534)]);
    // Where /tmp is in memory, too, there is no disk to try it with.
    if (statfsSync(disk).type !== statfsSync(memory).type) table.push(["on a disk", disk, () => {}]);
    for (const [what, place, make] of table) {
      rmSync(other, { recursive: true, force: true });
      const before = readdirSync(folder).length;
      make();
      asked = 0;
      for (const _ of [1, 2]) assert.equal(await outputs({}, [place]), secret);
      assert.equal(asked, 2, what);
      assert.equal(readdirSync(folder).length, before, what);
      assert.ok(!readdirSync(disk).some((name) => name.startsWith("outputs-")), what);
    }
  });

  it("not without a passphrase file, a passphrase, or a state", async () => {
    writeFileSync(join(disk, "empty"), "\n");
    const table: Partial<OutputsOf>[] = [
      { passphraseFile: undefined },
      { passphraseFile: join(disk, "none") },
      { passphraseFile: join(disk, "empty") },
      { passphraseFile: "/dev/null" },
      { stateFile: join(disk, "none.json") },
    ];
    for (const changes of table) {
      asked = 0;
      for (const _ of [1, 2]) await outputs(changes);
      assert.equal(asked, 2, JSON.stringify(changes));
    }
  });

  it("not when the state changes while Pulumi is asked", async () => {
    writeFileSync(of.stateFile, "state 2");
    const ask = async () => {
      writeFileSync(of.stateFile, "state 3");
      return "of state 2 or 3";
    };
    await cachedOutputs(of, ask, [folder]);
    assert.equal(await outputs(), secret);
    assert.equal(asked, 1);
  });

  it("not after they are forgotten", async () => {
    await forgetOutputs(of, [folder]);
    assert.ok(!existsSync(folder), "nothing else was in the folder");
  });

  it("in the session's own folder, else in one of the user's below /dev/shm", () => {
    const own = `/dev/shm/chillbox-${process.getuid?.()}`;
    assert.deepEqual(privateFolders({ XDG_RUNTIME_DIR: "/run/user/7" }), ["/run/user/7/chillbox", own]);
    assert.deepEqual(privateFolders({ XDG_RUNTIME_DIR: "relative" }), [own]);
    assert.deepEqual(privateFolders({}), [own]);
  });
});
