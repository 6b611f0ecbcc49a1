import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { type RawAnswer, raw } from "./raw-request.ts";
import { chunkedBody, presigned, sha256, signed, type ToSign } from "./spaces-sign.ts";
import { startTestSpaces, type TestSpaces } from "./spaces-support.ts";

let spaces: TestSpaces;
const minute = 60_000;

before(async () => {
  spaces = await startTestSpaces();
  assert.equal((await send({ method: "PUT", path: "/box" })).status, 200);
  assert.equal((await put("/box/file", "content")).status, 200);
});
after(() => spaces.stop());

test("accepts a signature for any region, the key's own secret and no other", async () => {
  for (const region of ["nyc3", "us-east-1", "ams3", "auto"])
    assert.equal((await send({ path: "/box/file", region })).status, 200);
  const wrong = { ...spaces.full, secretKey: "wrong" };
  const answer = await raw(spaces.port, { path: "/box/file", headers: signed(wrong, { path: "/box/file" }) });
  assert.deepEqual([answer.status, answer.code], [403, "SignatureDoesNotMatch"]);
  assert.match(answer.text, /<RequestId>tx[0-9a-f-]+<\/RequestId>/);
  assert.equal(answer.headers["x-amz-request-id"], /<RequestId>(.*?)</.exec(answer.text)?.[1]);
  const unknown = await raw(spaces.port, {
    path: "/box/file",
    headers: signed({ ...spaces.full, accessKey: "NOBODY" }, { path: "/box/file" }),
  });
  assert.deepEqual([unknown.status, unknown.code], [403, "InvalidAccessKeyId"]);
});

test("accepts names with every kind of character, signed as they are sent", async () => {
  for (const key of ["a%20b", "a%2Bb", "%C3%BC", "x%25y", "q%3Fr", "(a)!*'~", "a%26b%3Dc", "%E2%82%AC/d"]) {
    const path = `/box/${key.replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`)}`;
    assert.equal((await put(path, key)).status, 200, path);
    assert.equal((await send({ path })).text, key, path);
  }
});

test("refuses what was changed after signing: method, path, query, header, body", async () => {
  const sign = (wanted: ToSign) => signed(spaces.full, wanted);
  const headers = sign({ path: "/box/file" });
  const code = async (options: Parameters<typeof raw>[1]) => (await raw(spaces.port, options)).code;
  assert.equal(await code({ method: "DELETE", path: "/box/file", headers }), "SignatureDoesNotMatch");
  assert.equal(await code({ path: "/box/other", headers }), "SignatureDoesNotMatch");
  assert.equal(await code({ path: "/box/file?versionId=null", headers }), "SignatureDoesNotMatch");
  assert.equal(
    await code({ path: "/box/file", headers: { ...headers, "x-amz-date": "20200101T000000Z" } }),
    "AuthorizationHeaderMalformed",
  );
  const upload = sign({ method: "PUT", path: "/box/new", hash: sha256("good") });
  assert.equal(
    await code({ method: "PUT", path: "/box/new", headers: upload, body: "evil" }),
    "XAmzContentSHA256Mismatch",
  );
  assert.equal((await send({ path: "/box/new" })).status, 404);
  const acl = sign({ method: "PUT", path: "/box/new", hash: sha256("good"), headers: { "x-amz-acl": "private" } });
  assert.equal(
    await code({ method: "PUT", path: "/box/new", headers: { ...acl, "x-amz-acl": "public-read" }, body: "good" }),
    "SignatureDoesNotMatch",
  );
});

test("refuses x-amz headers that are not signed, and headers that come twice", async () => {
  const added = signed(spaces.full, {
    path: "/box/file",
    headers: { "x-amz-meta-a": "1" },
    unsigned: ["x-amz-meta-a"],
  });
  const answer = await raw(spaces.port, { path: "/box/file", headers: added });
  assert.deepEqual([answer.status, answer.code], [403, "AccessDenied"]);
  assert.match(answer.text, /x-amz-meta-a/);
  const host = signed(spaces.full, { path: "/box/file", unsigned: ["host"] });
  assert.equal((await raw(spaces.port, { path: "/box/file", headers: host })).code, "AccessDenied");
  const twice = { ...signed(spaces.full, { path: "/box/file" }), "x-amz-meta-b": ["1", "2"] };
  assert.equal((await raw(spaces.port, { path: "/box/file", headers: twice })).code, "InvalidRequest");
});

test("holds clocks to 15 minutes", async () => {
  const at = (ms: number) => send({ path: "/box/file", time: new Date(Date.now() + ms) });
  assert.equal((await at(-14 * minute)).status, 200);
  assert.equal((await at(14 * minute)).status, 200);
  assert.deepEqual(
    [(await at(-16 * minute)).code, (await at(16 * minute)).code],
    ["RequestTimeTooSkewed", "RequestTimeTooSkewed"],
  );
});

test("refuses signatures that are not whole", async () => {
  const good = signed(spaces.full, { path: "/box/file" });
  const code = async (authorization: string) =>
    (await raw(spaces.port, { path: "/box/file", headers: { ...good, authorization } })).code;
  for (const bad of [
    "",
    "AWS4-HMAC-SHA256",
    "AWS4-HMAC-SHA256 Credential=a",
    good.authorization.replace("/s3/", "/ec2/"),
    good.authorization.slice(0, -1),
  ]) {
    assert.equal(await code(bad), "AuthorizationHeaderMalformed", bad);
  }
  assert.equal(await code(`AWS ${spaces.full.accessKey}:c2lnbmF0dXJl`), "InvalidRequest");
  assert.equal(await code("Bearer token"), "AuthorizationHeaderMalformed");
});

test("honours presigned URLs until they expire", async () => {
  const get = (wanted: Parameters<typeof presigned>[1]) =>
    raw(spaces.port, { path: presigned(spaces.full, wanted), ...(wanted.host ? { host: wanted.host } : {}) });
  assert.equal((await get({ path: "/box/file" })).text, "content");
  assert.equal((await get({ path: "/file", host: "box.nyc3.spaces.test" })).text, "content");
  assert.equal((await get({ path: "/box/file", expires: 60, time: new Date(Date.now() - 50_000) })).status, 200);
  const expired = await get({ path: "/box/file", expires: 60, time: new Date(Date.now() - 62_000) });
  assert.deepEqual([expired.status, expired.code], [403, "AccessDenied"]);
  assert.match(expired.text, /Request has expired/);
  assert.match((await get({ path: "/box/file", time: new Date(Date.now() + 20 * minute) })).text, /not yet valid/);
  for (const expires of [0, 604_801])
    assert.equal((await get({ path: "/box/file", expires })).code, "AuthorizationQueryParametersError");
  const typed = await get({ path: "/box/file?response-content-type=text%2Fplain" });
  assert.equal(typed.headers["content-type"], "text/plain");
});

test("a presigned URL is for its method, its object and its headers only", async () => {
  const path = presigned(spaces.full, { path: "/box/file" });
  assert.equal((await raw(spaces.port, { method: "DELETE", path })).code, "SignatureDoesNotMatch");
  assert.equal(
    (await raw(spaces.port, { path: path.replace("/box/file", "/box/x%25y") })).code,
    "SignatureDoesNotMatch",
  );
  assert.equal((await raw(spaces.port, { path, headers: { "x-amz-acl": "public-read" } })).code, "AccessDenied");
  assert.equal(
    (await raw(spaces.port, { path: path.replace("X-Amz-Expires=60", "X-Amz-Expires=61") })).code,
    "SignatureDoesNotMatch",
  );
  assert.equal(
    (await raw(spaces.port, { path: `${path}&X-Amz-Expires=600` })).code,
    "AuthorizationQueryParametersError",
  );
  const both = signed(spaces.full, { path: "/box/file" });
  assert.equal((await raw(spaces.port, { path, headers: both })).code, "InvalidArgument");
  assert.equal(
    (await raw(spaces.port, { path: "/box/file?AWSAccessKeyId=a&Signature=b&Expires=9999999999" })).code,
    "InvalidRequest",
  );
});

test("a presigned upload takes its ACL and metadata from the query", async () => {
  const path = presigned(spaces.full, { method: "PUT", path: "/box/up?x-amz-acl=public-read&x-amz-meta-a=1" });
  assert.equal((await raw(spaces.port, { method: "PUT", path, body: "uploaded" })).status, 200);
  const open = await raw(spaces.port, { path: "/box/up" });
  assert.deepEqual([open.status, open.text, open.headers["x-amz-meta-a"]], [200, "uploaded", "1"]);
  for (const bad of ["x-amz-meta-a=%0D%0Ax-amz-acl%3Apublic-read", "x-amz-meta-a%0D%0Ab=1", "x-amz-meta-a=%00"]) {
    const evil = presigned(spaces.full, { method: "PUT", path: `/box/up?${bad}` });
    assert.equal((await raw(spaces.port, { method: "PUT", path: evil, body: "x" })).code, "InvalidArgument", bad);
  }
});

test("verifies signed chunks one by one", async () => {
  const chunks = [Buffer.alloc(70_000, "a"), Buffer.alloc(65_536, "b"), Buffer.from("end")];
  const whole = Buffer.concat(chunks);
  const start = (length = whole.length, extra: Record<string, string> = {}) =>
    signed(spaces.full, {
      method: "PUT",
      path: "/box/chunked",
      hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      headers: { "x-amz-decoded-content-length": String(length), "content-encoding": "aws-chunked", ...extra },
    });
  const upload = (headers: ReturnType<typeof start>, body: Buffer) =>
    raw(spaces.port, { method: "PUT", path: "/box/chunked", headers, body });
  const good = start();
  assert.equal((await upload(good, chunkedBody(spaces.full, good, chunks))).status, 200);
  const stored = await send({ path: "/box/chunked" });
  assert.equal(sha256(stored.text), sha256(whole));
  assert.equal(stored.headers["content-encoding"], undefined);

  const bent = chunkedBody(spaces.full, good, chunks);
  const cases: [string, Buffer, ReturnType<typeof start>, RegExp][] = [
    [
      "last byte of the last chunk",
      Buffer.from(bent.toString("latin1").replace("end\r\n", "enx\r\n"), "latin1"),
      good,
      /SignatureDoesNotMatch/,
    ],
    [
      "last chunk's signature",
      Buffer.from(bent.toString("latin1").replace(/\r\n0;chunk-signature=../, "\r\n0;chunk-signature=zz"), "latin1"),
      good,
      /InvalidRequest/,
    ],
    [
      "chunks in another order",
      chunkedBody(spaces.full, good, [chunks[1], chunks[0], chunks[2]] as Buffer[]).subarray(0, 100_000),
      good,
      /./,
    ],
    [
      "a chunk left out",
      Buffer.concat([bent.subarray(0, 70_000 + 90), bent.subarray(70_000 + 90 + 65_536 + 90)]),
      good,
      /./,
    ],
    ["no end", bent.subarray(0, -50), good, /./],
    ["data behind the end", Buffer.concat([bent, Buffer.from("more")]), good, /IncompleteBody/],
    ["too long a size", Buffer.from(`ffffffffffff;chunk-signature=${"0".repeat(64)}\r\n`), good, /InvalidRequest/],
    ["no line end", Buffer.alloc(5000, "1"), good, /InvalidRequest/],
  ];
  for (const [what, body, headers, expected] of cases) {
    const answer = await upload(headers, body).catch((error: Error) => ({
      status: 0,
      text: error.message,
      code: "closed",
    }));
    assert.notEqual(answer.status, 200, what);
    assert.match(`${answer.code} ${answer.text}`, expected, what);
    assert.equal(
      sha256((await send({ path: "/box/chunked" })).text),
      sha256(whole),
      `${what}: the object must be as it was`,
    );
  }
  for (const length of [whole.length - 1, whole.length + 1]) {
    const wrong = start(length);
    const answer = await upload(wrong, chunkedBody(spaces.full, wrong, chunks)).catch(() => ({ status: 0 }));
    assert.notEqual(answer.status, 200, `decoded length ${length}`);
  }
  assert.equal(sha256((await send({ path: "/box/chunked" })).text), sha256(whole));
});

test("checks the checksum behind chunks, signed and unsigned", async () => {
  const content = Buffer.alloc(100_000, "abc");
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32(content));
  const upload = async (kind: "signed" | "unsigned", checksum: string, key = `trailer-${kind}`) => {
    const path = `/box/${key}`;
    const hash =
      kind === "signed" ? "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" : "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    const headers = signed(spaces.full, {
      method: "PUT",
      path,
      hash,
      headers: {
        "x-amz-decoded-content-length": String(content.length),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
      },
    });
    const plain = `${content.length.toString(16)}\r\n${content}\r\n0\r\nx-amz-checksum-crc32:${checksum}\r\n\r\n`;
    const trailer = `x-amz-checksum-crc32:${checksum}`;
    const body =
      kind === "signed"
        ? chunkedBody(spaces.full, headers, [content.subarray(0, 66_000), content.subarray(66_000)], trailer)
        : Buffer.from(plain);
    return raw(spaces.port, { method: "PUT", path, headers, body });
  };
  for (const kind of ["signed", "unsigned"] as const) {
    const good = await upload(kind, sum.toString("base64"));
    assert.equal(good.status, 200, `${kind}: ${good.text}`);
    assert.equal((await send({ path: `/box/trailer-${kind}` })).text, content.toString());
    const bad = await upload(kind, "AAAAAA==", `bad-${kind}`);
    assert.equal(bad.status, 400, `${kind}: ${bad.text}`);
    assert.equal((await send({ path: `/box/bad-${kind}` })).status, 404);
  }
});

test("an upload that breaks off leaves the object as it was, whatever its kind", async () => {
  const size = 3_000_000;
  const kinds: [string, Record<string, string>, (content: Buffer, key: ReturnType<typeof signed>) => Buffer][] = [
    ["UNSIGNED-PAYLOAD", {}, (content) => content],
    [sha256(Buffer.alloc(size, "z")), {}, (content) => content],
    [
      "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
      { "x-amz-decoded-content-length": String(size), "x-amz-trailer": "x-amz-checksum-crc32" },
      (content) =>
        Buffer.from(`${content.length.toString(16)}\r\n${content}\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n`),
    ],
    [
      "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
      { "x-amz-decoded-content-length": String(size) },
      (content, headers) => chunkedBody(spaces.full, headers, [content]),
    ],
    [
      "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
      { "x-amz-decoded-content-length": String(size), "x-amz-trailer": "x-amz-checksum-crc32" },
      (content, headers) => chunkedBody(spaces.full, headers, [content], "x-amz-checksum-crc32:AAAAAA=="),
    ],
  ];
  for (const [hash, extra, frame] of kinds) {
    assert.equal((await put("/box/broken", "before")).status, 200);
    const headers = signed(spaces.full, { method: "PUT", path: "/box/broken", hash, headers: extra });
    const body = frame(Buffer.alloc(size, "z"), headers);
    const lines = Object.entries({ ...headers, "content-length": String(body.length) }).map(
      ([name, value]) => `${name}: ${value}\r\n`,
    );
    const socket = connect(spaces.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(`PUT /box/broken HTTP/1.1\r\n${lines.join("")}\r\n`);
    await new Promise((done) => socket.write(body.subarray(0, 2_000_000), done));
    await sleep(100);
    socket.destroy();
    await sleep(200);
    assert.equal((await send({ path: "/box/broken" })).text, "before", hash);
  }
});

test("takes unsigned payloads, checks Content-MD5, and wants a length", async () => {
  assert.equal((await put("/box/unsigned", "x", { hash: "UNSIGNED-PAYLOAD" })).status, 200);
  const md5 = createHash("md5").update("other").digest("base64");
  const bad = await put("/box/md5", "x", { headers: { "content-md5": md5 } });
  assert.deepEqual([bad.status, bad.code], [400, "BadDigest"]);
  assert.equal((await send({ path: "/box/md5" })).status, 404);
  assert.equal((await put("/box/x", "x", { hash: "nonsense" })).code, "NotImplemented");
  const headers = {
    ...signed(spaces.full, { method: "PUT", path: "/box/nolength", hash: "UNSIGNED-PAYLOAD" }),
    "transfer-encoding": "chunked",
  };
  assert.equal(
    (await raw(spaces.port, { method: "PUT", path: "/box/nolength", headers, body: "x" })).code,
    "MissingContentLength",
  );
});

function send(wanted: ToSign): Promise<RawAnswer> {
  const headers = signed(spaces.full, wanted);
  return raw(spaces.port, { method: wanted.method ?? "GET", path: wanted.path, headers });
}

function put(path: string, body: string, wanted: Partial<ToSign> = {}): Promise<RawAnswer> {
  const headers = signed(spaces.full, { method: "PUT", path, hash: sha256(body), ...wanted });
  return raw(spaces.port, { method: "PUT", path, headers, body });
}
