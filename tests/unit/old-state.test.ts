import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { oldCopies, stacksHere } from "../../cli/old-state.ts";
import { localCloudSettings } from "../../lib/local-cloud-settings.ts";

const repository = mkdtempSync(join(tmpdir(), "chillbox-state-"));
after(() => rmSync(repository, { recursive: true }));
const settings = { ...localCloudSettings({}), repository };

function write(name: string, salt?: string): void {
  const path = join(repository, "state/.pulumi", name);
  mkdirSync(dirname(path), { recursive: true });
  const latest = { secrets_providers: { type: "passphrase", state: { salt } } };
  writeFileSync(path, salt === undefined ? "{}" : JSON.stringify({ version: 3, checkpoint: { latest } }));
}

test("copies under another passphrase than the state's are found, with what belongs to them, and no others", async () => {
  assert.deepEqual(await stacksHere(settings), []);
  write("stacks/chillbox/production.json", "v1:new");
  write("stacks/chillbox/production.json.attrs");
  write("stacks/chillbox/production.json.bak", "v1:old");
  for (const [time, salt] of [
    ["1", "v1:old"],
    ["10", "v1:new"],
    ["12", "v1:old"],
  ] as const) {
    write(`history/chillbox/production/production-${time}.checkpoint.json`, salt);
    write(`history/chillbox/production/production-${time}.checkpoint.json.attrs`);
    write(`history/chillbox/production/production-${time}.history.json`);
    write(`backups/chillbox/production/production.${time}.json`, salt);
    write(`backups/chillbox/production/production.${time}.json.attrs`);
  }
  write("history/chillbox/other/other-1.checkpoint.json", "v1:old");
  const found = (await oldCopies(settings, "production")).map((path) => path.split(".pulumi/")[1]).sort();
  const of = (time: string) => [
    `backups/chillbox/production/production.${time}.json`,
    `backups/chillbox/production/production.${time}.json.attrs`,
    `history/chillbox/production/production-${time}.checkpoint.json`,
    `history/chillbox/production/production-${time}.checkpoint.json.attrs`,
    `history/chillbox/production/production-${time}.history.json`,
  ];
  const stack = ["stacks/chillbox/production.json.bak", "stacks/chillbox/production.json.bak.attrs"];
  assert.deepEqual(found, [...of("1"), ...of("12"), ...stack].sort());
  assert.deepEqual(await stacksHere(settings), ["production"]);
});

test("a stack without a state, or one that cannot be read, has no old copies: nothing is removed by mistake", async () => {
  assert.deepEqual(await oldCopies(settings, "other"), []);
  writeFileSync(join(repository, "state/.pulumi/stacks/chillbox/production.json"), "not JSON");
  assert.deepEqual(await oldCopies(settings, "production"), []);
});
