import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { generateKeyPairSync, randomBytes, randomInt } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { sha256 } from "../../lib/archive.ts";
import { envelopeHeader, keyFingerprint, type SiteSecretPurpose, sealEnvelope } from "../../lib/envelope.ts";
import { imageShell } from "../server-scripts/ash.ts";
import { sealOlder } from "./secrets.ts";

/** How many changed envelopes are tried; `npm run test:soak` tries each byte and each length. */
const mutants = Number(process.env.CHILLBOX_MUTANTS ?? 300);
const seed = Number(process.env.CHILLBOX_SEED ?? randomInt(1 << 30));
const folder = mkdtempSync(join(tmpdir(), "chillbox-envelopes-"));
const content = Buffer.from(`password = ${randomBytes(8).toString("hex")}\nkey = é#=\u0000\n`.repeat(3));
const own = pair();
const other = pair();
const purpose: SiteSecretPurpose = {
  purpose: "site-secret",
  site: "shop",
  service: "api",
  file: "api.cfg",
  key: keyFingerprint(own.publicKey),
  number: 1_700_000_000_000,
};
let shell = "";

before(async () => {
  shell = await imageShell();
  writeFileSync(join(folder, "key.pem"), own.privateKey, { mode: 0o600 });
  writeFileSync(join(folder, "public.pem"), own.publicKey);
});
after(() => rmSync(folder, { recursive: true, force: true }));

interface Case {
  readonly sealed: Buffer;
  /** Default: that of the sealed file. */
  readonly sha256?: string;
  readonly format?: "envelope" | "older";
}

/** Opens all of them as the server does. @returns for each the digest of what it opened, or why it was refused */
async function open(cases: Readonly<Record<string, Case>>): Promise<Map<string, string>> {
  const home = mkdtempSync(join(folder, "cases-"));
  for (const [name, { sealed, sha256: digest = sha256(sealed), format = "envelope" }] of Object.entries(cases)) {
    const path = join(home, name);
    mkdirSync(path);
    writeFileSync(join(path, "sealed"), sealed);
    writeFileSync(join(path, "sha256"), digest);
    writeFileSync(join(path, "format"), format);
    writeFileSync(join(path, "purpose"), JSON.stringify(purpose));
  }
  const words = [join(import.meta.dirname, "open-all.sh"), libraries, join(folder, "key.pem"), home];
  // Its applets before those of this machine, as on the server.
  const env = { ...process.env, PATH: `${dirname(shell)}${delimiter}${process.env.PATH}` };
  const { stdout } = await promisify(execFile)(shell, words, { env, maxBuffer: 1 << 26 });
  rmSync(home, { recursive: true });
  const lines = stdout.trimEnd().split("\n");
  assert.equal(lines.length, Object.keys(cases).length, stdout);
  return new Map(lines.map((line) => [line.split(" ")[0] ?? "", line.slice(line.indexOf(" ") + 1)]));
}

const libraries = resolve(import.meta.dirname, "../../server-scripts/lib");
const opened = `opened ${sha256(content)}`;

test("what was sealed opens, byte for byte; so does what older tools made", async () => {
  const large = randomBytes(1 << 20);
  const said = await open({
    envelope: { sealed: sealEnvelope(own.publicKey, purpose, content) },
    large: { sealed: sealEnvelope(own.publicKey, purpose, large) },
    older: { sealed: sealOlder(own.publicKey, content), format: "older" },
  });
  assert.deepEqual(Object.fromEntries(said), { envelope: opened, large: `opened ${sha256(large)}`, older: opened });
});

test(`flipped and cut envelopes, seed ${seed}: refused by their digest, and none gives another text without it`, {
  timeout: 1_800_000,
}, async () => {
  const sealed = sealEnvelope(own.publicKey, purpose, content);
  const changed = sample(changes(sealed), mutants);
  const withDigest = await open(asCases(changed, sha256(sealed)));
  for (const [name, said] of withDigest) assert.match(said, /^refused .*\(its SHA-256 differs\)$/, name);
  const without = await open(asCases(changed));
  const accepted = [...without].filter(([, said]) => !said.startsWith("refused "));
  // openssl reads past some bits that it does not need; the text is the same then.
  for (const [name, said] of accepted) assert.equal(said, opened, name);
  assert.ok(accepted.length < changed.size / 5, `${accepted.length} of ${changed.size} were accepted`);
  const line = `${changed.size} changed envelopes: 0 opened with the digest, without it ${accepted.length} gave the same text and 0 another\n`;
  if (process.env.CHILLBOX_REPORT) appendFileSync(process.env.CHILLBOX_REPORT, line);
});

test("older files that were changed are refused by their digest before anything reads them", async () => {
  const sealed = sealOlder(own.publicKey, content);
  const changed = sample(changes(sealed), 40);
  for (const [name, said] of await open(asCases(changed, sha256(sealed), "older"))) {
    assert.match(said, /^refused .*\(its SHA-256 differs\)$/, name);
  }
});

/** Twenty envelopes that are whole, and still not what the server is told to open. */
const mixUps: Readonly<Record<string, [Case, RegExp]>> = {
  "another site's": [sealedFor({ site: "shop2" }), /for another purpose or server/],
  "another service's": [sealedFor({ service: "api2" }), /for another purpose or server/],
  "another file's": [sealedFor({ file: "api.cfg2" }), /for another purpose or server/],
  "for another server's key, sealed to this": [sealedFor({ key: "0".repeat(64) }), /for another purpose or server/],
  "sealed to another server": [{ sealed: sealEnvelope(other.publicKey, purpose, content) }, /cannot be opened/],
  "an older one": [sealedFor({ number: purpose.number - 1 }), /for another purpose or server/],
  "a newer one": [sealedFor({ number: purpose.number + 1 }), /for another purpose or server/],
  "the first boot's": [
    { sealed: sealEnvelope(own.publicKey, { purpose: "first-boot", server: "box", number: 1 }, content) },
    /for another purpose or server/,
  ],
  "without a header": [withHeader(""), /has no chillbox-envelope 1 header/],
  "of a later format": [withHeader(header().replace("envelope 1", "envelope 2")), /has no chillbox-envelope 1 header/],
  "with a blank line before its header": [withHeader(`\n${header()}`), /has no chillbox-envelope 1 header/],
  "with a field more": [withHeader(header().replace("}", ',"more":1}')), /for another purpose or server/],
  "with a field less": [withHeader(header().replace(/,"number":\d+/, "")), /for another purpose or server/],
  "with two headers in one line": [withHeader(header().replace("}", `}${JSON.stringify({ a: 1 })}`)), /for another/],
  "with a header that is not JSON": [withHeader(header().replace("}", "")), /is not JSON/],
  "with a header alone": [{ sealed: sealEnvelope(own.publicKey, purpose, "") }, /is empty/],
  empty: [{ sealed: Buffer.alloc(0) }, /cannot be opened/],
  "too large": [
    { sealed: sealEnvelope(own.publicKey, purpose, Buffer.alloc((1 << 20) + 1)) },
    /more than 1048576 bytes/,
  ],
  "an older file, named an envelope": [{ sealed: sealOlder(own.publicKey, content) }, /cannot be opened/],
  "an envelope, named older": [{ ...sealedFor({}), format: "older" }, /cannot be opened/],
};

test("mix-ups of whole envelopes open nothing, each for its own reason", async () => {
  const names = Object.keys(mixUps);
  assert.equal(names.length, 20);
  const said = await open(Object.fromEntries(Object.values(mixUps).map(([each], index) => [String(index), each])));
  names.forEach((name, index) => {
    const line = said.get(String(index)) ?? "";
    assert.match(line, /^refused /, name);
    assert.match(line, mixUps[name]?.[1] ?? /never/, name);
  });
});

function pair(): { publicKey: string; privateKey: string } {
  return generateKeyPairSync("rsa", {
    modulusLength: 4096,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
}

function sealedFor(changed: Partial<SiteSecretPurpose>): Case {
  return { sealed: sealEnvelope(own.publicKey, { ...purpose, ...changed }, content) };
}

/** Sealed to the right key, with another first line. */
function withHeader(text: string): Case {
  return { sealed: sealText(Buffer.concat([Buffer.from(text), content])) };
}

function header(): string {
  return envelopeHeader(purpose);
}

/** An envelope of exactly this text, by openssl, for a certificate of the same key. */
function sealText(text: Uint8Array): Buffer {
  const path = (name: string) => join(folder, name);
  writeFileSync(path("made.pem"), own.privateKey, { mode: 0o600 });
  const certificate = [
    "req",
    "-x509",
    "-key",
    path("made.pem"),
    "-subj",
    "/CN=x",
    "-days",
    "1",
    "-out",
    path("certificate"),
  ];
  execFileSync("openssl", certificate, { stdio: "ignore" });
  const words = ["cms", "-encrypt", "-binary", "-aes-256-gcm", "-outform", "DER", "-recip", path("certificate")];
  words.push("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256");
  return execFileSync("openssl", words, { input: text });
}

/** Each byte flipped in one bit, and the file cut at each length. */
function changes(sealed: Buffer): Map<string, Buffer> {
  const all = new Map<string, Buffer>();
  for (let at = 0; at < sealed.length; at++) {
    const flipped = Buffer.from(sealed);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
    all.set(`flipped-${at}`, flipped);
    all.set(`cut-${at}`, sealed.subarray(0, at));
  }
  return all;
}

function asCases(changed: Map<string, Buffer>, digest?: string, format?: "older"): Record<string, Case> {
  return Object.fromEntries(
    [...changed].map(([name, sealed]) => [
      name,
      { sealed, ...(digest ? { sha256: digest } : {}), ...(format ? { format } : {}) },
    ]),
  );
}

/** So many of them, by the seed. */
function sample<T>(all: Map<string, T>, count: number): Map<string, T> {
  let state = seed >>> 0;
  const random = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state;
  };
  const drawn = [...all].map((entry) => ({ entry, order: random() })).sort((a, b) => a.order - b.order);
  return new Map(drawn.slice(0, count).map(({ entry }) => entry));
}
