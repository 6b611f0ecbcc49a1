import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { gzipSync } from "node:zlib";
import { CanarySearch } from "./canary.ts";

const secret = `pass "word" \\ %20 ${randomBytes(24).toString("base64")}/+ü\n`;
const canary = { name: "the canary", value: Buffer.from(secret) };
const search = new CanarySearch([canary, { name: "another", value: randomBytes(32) }]);
const folder = mkdtempSync(join(tmpdir(), "chillbox-canary-"));
after(() => rmSync(folder, { recursive: true }));

const before = (bytes: number) => Buffer.concat([Buffer.alloc(bytes, "x"), canary.value, Buffer.from("yz")]);
const percent = canary.value.toString("hex").replaceAll(/../g, "%$&");

/** Every way in which a secret may lie somewhere, planted on purpose. */
const planted: readonly (readonly [what: string, content: Buffer | string, form: RegExp])[] = [
  ["as it is", `key=${secret}`, /^plain$/],
  ...[0, 1, 2].flatMap((bytes) => [
    [`in base64 from place ${bytes}`, before(bytes).toString("base64"), /^base64$/] as const,
    [`in base64 for URLs from place ${bytes}`, before(bytes).toString("base64url"), /^base64$/] as const,
    [
      `in base64 of many lines from place ${bytes}`,
      before(bytes).toString("base64").replaceAll(/.{30}/g, "$&\n"),
      /^base64$/,
    ] as const,
  ]),
  ["in hex", canary.value.toString("hex"), /^hex$/],
  ["in upper-case hex", canary.value.toString("hex").toUpperCase(), /^hex$/],
  ["in percent form", percent, /^URL$/],
  ["in a URL", `https://example.com/?q=${encodeURIComponent(secret)}`, /^(plain|URL)$/],
  ["in JSON", JSON.stringify({ a: secret }), /^(plain|JSON)$/],
  ["in JSON in JSON", JSON.stringify({ a: JSON.stringify({ b: secret }) }), /^(plain|JSON)$/],
  [
    "in JSON of codes",
    [...secret].map((sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
    /JSON/,
  ],
  ["in gzip", gzipSync(secret), /^plain in gzip$/],
  ["in gzip after something else", Buffer.concat([randomBytes(5000), gzipSync(secret), randomBytes(5000)]), /in gzip$/],
  [
    "in a gzip that was cut",
    gzipSync(Buffer.concat([Buffer.from(secret), randomBytes(90_000)])).subarray(0, 50_000),
    /in gzip$/,
  ],
  ["in base64 in gzip in gzip", gzipSync(gzipSync(before(1).toString("base64"))), /^base64 in gzip in gzip$/],
];

describe("the search for canaries", () => {
  for (const [what, content, form] of planted) {
    it(`finds one ${what}`, async () => {
      const hits = await search.inBytes(Buffer.from(content), "here");
      assert.ok(
        hits.some((hit) => form.test(hit.form)),
        JSON.stringify(hits),
      );
      assert.ok(hits.every((hit) => hit.canary === "the canary" && hit.place === "here"));
    });
  }

  it("finds nothing where there is nothing", async () => {
    assert.deepEqual(await search.inBytes(randomBytes(5_000_000), "noise"), []);
    assert.deepEqual(await search.inBytes(Buffer.from(secret.slice(0, 11)), "a beginning"), []);
  });

  it("finds one in the files of a folder, in a tar.gz, in a file's name, and at the end of a sparse image", async () => {
    const inside = join(folder, "tree/inside");
    mkdirSync(inside, { recursive: true });
    writeFileSync(join(inside, "note"), `a ${secret} b`);
    execFileSync("tar", ["-czf", join(folder, "tree/all.tar.gz"), "-C", inside, "note"]);
    writeFileSync(join(folder, "tree", canary.value.toString("hex").slice(0, 200)), "");
    const image = join(folder, "tree/disk.raw");
    writeFileSync(image, "");
    truncateSync(image, 2 ** 33);
    execFileSync("dd", [`of=${image}`, "bs=1", `seek=${2 ** 33 - 4096}`, "conv=notrunc", "status=none"], {
      input: secret,
    });
    const hits = await search.inFolder(join(folder, "tree"));
    const found = hits.map(({ place, form }) => `${place.slice(folder.length + 6).slice(0, 11)} ${form}`);
    for (const name of ["inside/note plain", "all.tar.gz plain in gzip", "disk.raw plain"]) {
      assert.ok(found.includes(name), found.join("\n"));
    }
    assert.ok(
      found.some((each) => each.endsWith(" hex")),
      found.join("\n"),
    );
  });
});
