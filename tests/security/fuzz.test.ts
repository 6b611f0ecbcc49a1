import assert from "node:assert/strict";
import { appendFileSync, existsSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { TestServer } from "../server-scripts/server.ts";
import { fields, type Sample, sampleFields } from "./fuzz-fields.ts";

/**
 * Any text in every text field of a site file: it is refused with words, or comes back byte for byte by the tool that reads what is rendered
 * of it, on a real server. `CHILLBOX_FUZZ` says how many for each field, `CHILLBOX_SEED` which.
 */
const server = new TestServer();
const count = Number(process.env.CHILLBOX_FUZZ ?? 500);
const seed = Number(process.env.CHILLBOX_SEED ?? Date.now() % 2 ** 31);
const round = 500;
/** What a command makes that was run by mistake, here or there. */
const mark = join(tmpdir(), `chillbox-fuzz-mark-${process.pid}`);

before(
  async () => {
    await server.setUp();
    const script = readFileSync(join(import.meta.dirname, "fuzz_check.py"), "utf8");
    assert.equal((await server.ssh("doas tee /run/fuzz_check.py >/dev/null", script)).code, 0);
  },
  { timeout: 240_000 },
);
after(async () => {
  await server.close();
  rmSync(mark, { force: true });
});

test(`${count} texts in each of ${fields.length} fields, seed ${seed}`, { timeout: 3_600_000 }, async (context) => {
  const sums = { taken: 0, refused: 0 };
  for (let done = 0; done < count; done += round) {
    const samples = await sampleFields(Math.min(round, count - done), seed + done, mark);
    for (const { refused } of samples) if (refused !== undefined) checkWords(refused);
    const said = await checkOnServer(samples);
    assert.deepEqual(said.wrong, []);
    assert.deepEqual(said.refused, [], "the server refused what the laptop took");
    sums.taken += said.taken;
    sums.refused += samples.filter(({ refused }) => refused !== undefined).length;
    if (count > round) context.diagnostic(`${done + round} of ${count}`);
  }
  assert.equal(existsSync(mark), false, "a command ran on the laptop");
  assert.equal((await server.ssh(`test ! -e ${mark}`)).code, 0, "a command ran on the server");
  assert.ok(sums.taken > count, "hardly any text was taken: this shows nothing");
  const line = `seed ${seed}, ${count} texts in each of ${fields.length} fields: ${sums.taken} taken, ${sums.refused} refused`;
  context.diagnostic(line);
  if (process.env.CHILLBOX_REPORT) appendFileSync(process.env.CHILLBOX_REPORT, `${line}\n`);
});

/** An error for people: it says something, in lines, and nothing that a terminal would obey. */
function checkWords(message: string): void {
  assert.match(message, /[a-z]{3,} [a-z]{2,}/);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  assert.doesNotMatch(message, /[\0-\x08\x0b-\x1f\x7f]/, JSON.stringify(message));
}

async function checkOnServer(
  samples: readonly Sample[],
): Promise<{ taken: number; refused: string[]; wrong: string[] }> {
  const sent = samples.filter(({ manifest }) => manifest !== undefined).map((sample) => `${JSON.stringify(sample)}\n`);
  const said = await server.ssh("doas python3 /run/fuzz_check.py /run/fuzz", sent.join(""));
  assert.equal(said.code, 0, said.errors);
  return JSON.parse(said.out);
}
