import assert from "node:assert/strict";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { type RawAnswer, raw } from "./raw-request.ts";
import { sha256, signed, type ToSign } from "./spaces-sign.ts";
import { startTestSpaces, type TestKey, type TestSpaces } from "./spaces-support.ts";

let spaces: TestSpaces;
let writer: TestKey;

before(async () => {
  spaces = await startTestSpaces();
  for (const bucket of ["mine", "victim"]) {
    assert.equal((await send(spaces.full, { method: "PUT", path: `/${bucket}` })).status, 200);
    assert.equal((await send(spaces.full, { method: "PUT", path: `/${bucket}/secret` }, bucket)).status, 200);
  }
  await writeFile(join(spaces.folder, "data", "outside"), "outside");
  await writeFile(join(spaces.folder, "outside"), "outside");
  writer = spaces.key([{ bucket: "mine", permission: "readwrite" }]);
});
after(() => spaces.stop());

/** Ways out of the bucket, as they are written in a path. */
const ways = [
  "../victim/secret",
  "./../victim/secret",
  "a/../../victim/secret",
  "%2e%2e/victim/secret",
  "%2E%2E/victim/secret",
  ".%2e/victim/secret",
  "..%2fvictim%2fsecret",
  "%2e%2e%2fvictim%2fsecret",
  "a/%2e%2e/%2e%2e/victim/secret",
  "../../outside",
  "../outside",
  "..",
  ".",
  "a/.",
  "a/..",
  "a/./b",
  "a//b",
  "/victim/secret",
  "//victim/secret",
  "%2Fvictim/secret",
  "a%00b",
  ".sgwtmp/multipart/x",
  "%2esgwtmp/x",
];

test("no spelling of a key leads out of its bucket, in either style, for any method", async () => {
  for (const way of ways) {
    for (const method of ["GET", "HEAD", "PUT", "DELETE"]) {
      for (const style of [{ path: `/mine/${way}` }, { path: `/${way}`, host: "mine.nyc3.spaces.test" }]) {
        const answer = await sendDecoded(spaces.full, { method, ...style });
        assert.equal(answer.status, 400, `${method} ${style.host ?? ""}${style.path}: ${answer.status} ${answer.text}`);
      }
    }
  }
  await unharmed();
});

test("a key that only looks encoded is a key like any other", async () => {
  for (const path of [
    "/mine/%252e%252e/victim/secret",
    "/mine/%252e%252e%252fvictim%252fsecret",
    "/mine/..victim",
    "/mine/...",
    "/mine/a../b",
  ]) {
    assert.equal((await sendDecoded(writer, { method: "PUT", path }, "harmless")).status, 200, path);
    assert.equal((await sendDecoded(writer, { path })).text, "harmless", path);
    assert.equal((await sendDecoded(writer, { method: "DELETE", path })).status, 204, path);
  }
  await unharmed();
});

test("no copy source leads out of its bucket", async () => {
  for (const way of [...ways, "%252e%252e/victim/secret"]) {
    for (const source of [`mine/${way}`, `/mine/${way}`]) {
      const answer = await send(writer, {
        method: "PUT",
        path: "/mine/stolen",
        headers: { "x-amz-copy-source": source },
      });
      assert.ok([400, 403, 404].includes(answer.status), `${source}: ${answer.status}`);
    }
  }
  for (const source of ["victim/secret", "/victim/secret", "%76ictim/secret", "victim%2fsecret"]) {
    const answer = await send(writer, {
      method: "PUT",
      path: "/mine/stolen",
      headers: { "x-amz-copy-source": source },
    });
    assert.deepEqual([source, answer.code], [source, "AccessDenied"]);
  }
  for (const source of [
    "",
    "/",
    "mine",
    "mine/",
    "..",
    "../data/victim/secret",
    "mine/secret?versionId=../../victim/secret",
  ]) {
    const answer = await send(writer, {
      method: "PUT",
      path: "/mine/stolen",
      headers: { "x-amz-copy-source": source },
    });
    assert.equal(answer.status, 400, source);
  }
  assert.equal((await send(spaces.full, { path: "/mine/stolen" })).status, 404);
});

test("no key in a list of deletions leads out of its bucket", async () => {
  const keys = [
    ...ways.map((way) => decodeURIComponent(way)),
    "..&#x2f;victim/secret",
    "<![CDATA[../victim/secret]]>",
    "&#46;&#46;/victim/secret",
  ];
  const objects = keys.filter((key) => !key.includes("\0")).map((key) => `<Object><Key>${key}</Key></Object>`);
  const answer = await deletion(writer, `<Delete>${objects.join("")}</Delete>`);
  assert.equal(answer.status, 200);
  assert.equal(answer.text.match(/<Error>/g)?.length, objects.length, answer.text);
  assert.ok(!answer.text.includes("<Deleted>"));
  const version = await deletion(
    writer,
    "<Delete><Object><Key>secret</Key><VersionId>../../victim/secret</VersionId></Object></Delete>",
  );
  assert.match(version.text, /<Error>.*InvalidArgument/);
  for (const evil of [
    "",
    "<Delete>",
    "<Delete></Delete>",
    "<Other><Object><Key>a</Key></Object></Other>",
    '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>',
    "<Delete><Object><Key>&e;</Key></Object></Delete>",
    `${"<a>".repeat(5000)}${"</a>".repeat(5000)}`,
  ]) {
    assert.equal((await deletion(writer, evil)).code, "MalformedXML", evil.slice(0, 60));
  }
  await unharmed();
});

test("neither prefixes, markers nor ids lead out of a bucket", async () => {
  for (const parameter of ["prefix", "marker", "start-after"]) {
    for (const value of [
      "..%2Fvictim%2F",
      "..%2F",
      "a%2F..%2F..%2Fvictim%2F",
      "..",
      "%2F",
      "a%2F%2F",
      ".sgwtmp%2F",
      "%00",
    ]) {
      const answer = await send(writer, { path: `/mine?${parameter}=${value}` });
      assert.deepEqual([parameter, value, answer.status], [parameter, value, 400]);
    }
  }
  for (const query of [
    "?uploadId=..%2F..%2Fvictim",
    "?versionId=..%2F..%2Fvictim%2Fsecret",
    "?uploadId=a%2Fb&partNumber=1",
  ]) {
    assert.equal((await send(writer, { path: `/mine/secret${query}` })).status, 400, query);
  }
  assert.equal((await send(writer, { path: "/mine?versions&version-id-marker=..%2Fx&key-marker=a" })).status, 400);
  assert.equal((await send(writer, { path: "/mine?uploads&upload-id-marker=..%2Fx" })).status, 400);
  assert.equal((await send(writer, { path: "/mine?prefix=a&prefix=..%2F" })).status, 400);
});

test("no bucket name leads anywhere else", async () => {
  for (const name of ["..", ".", "%2e%2e", "a..b", "-ab", "AB", "a", "192.0.2.1", ".sgwtmp", "a_b", "x".repeat(64)]) {
    assert.equal((await sendDecoded(spaces.full, { method: "PUT", path: `/${name}` })).status, 400, name);
  }
  const folders = (await readdir(join(spaces.folder, "data"))).filter((name) => name !== ".vgwlocks").sort();
  assert.deepEqual(folders, ["mine", "outside", "victim"]);
});

test("the object store's admin interface cannot be reached", async () => {
  for (const path of [
    "/create-user",
    "/delete-user",
    "/update-user",
    "/list-users",
    "/change-bucket-owner",
    "/list-buckets",
    "/mine/create",
  ]) {
    const answer = await send(spaces.full, { method: "PATCH", path });
    assert.deepEqual([path, answer.status], [path, 405]);
  }
  for (const method of ["PATCH", "TRACE", "PROPFIND", "POST"])
    assert.equal((await send(spaces.full, { method, path: "/mine/x" })).status, 405, method);
  // Not its health check either.
  assert.equal((await raw(spaces.port, { path: "/healthz" })).status, 404);
});

test("what Spaces does not have is said to be missing, not done silently", async () => {
  for (const query of [
    "website",
    "tagging",
    "object-lock",
    "encryption",
    "replication",
    "notification",
    "ownershipControls",
    "publicAccessBlock",
  ]) {
    for (const method of ["GET", "PUT", "DELETE"]) {
      assert.equal(
        (await send(spaces.full, { method, path: `/mine?${query}` })).code,
        "NotImplemented",
        `${method} ?${query}`,
      );
    }
  }
  for (const query of ["tagging", "retention", "legal-hold", "torrent", "attributes", "restore"]) {
    assert.equal((await send(spaces.full, { path: `/mine/secret?${query}` })).code, "NotImplemented", query);
  }
  assert.equal((await send(spaces.full, { path: "/mine?acl&policy" })).code, "InvalidArgument");
  for (const name of [
    "x-amz-tagging",
    "x-amz-server-side-encryption",
    "x-amz-object-lock-mode",
    "x-amz-grant-read",
    "x-amz-website-redirect-location",
  ]) {
    const answer = await send(spaces.full, { method: "PUT", path: "/mine/x", headers: { [name]: "a" } });
    assert.deepEqual([name, answer.code], [name, "NotImplemented"]);
  }
});

test("only hosts of Spaces are served, and nothing is proxied to any other", async () => {
  for (const host of [
    "127.0.0.1",
    "localhost",
    "example.com",
    "spaces.test",
    "xspaces.test",
    "nyc9.spaces.test",
    "a.nyc3.spaces.test.example.com",
    "",
  ]) {
    const answer = await raw(spaces.port, { path: "/mine/secret", host });
    assert.deepEqual([host, answer.status, answer.text.includes("<region>.spaces.test")], [host, 403, true]);
    if (host === "") continue;
    const proxied = await raw(spaces.port, { path: `http://${host}/mine/secret`, host });
    assert.deepEqual([host, proxied.status], [host, 403]);
  }
  assert.equal((await raw(spaces.port, { path: "https://nyc3.spaces.test/", host: "nyc3.spaces.test" })).status, 403);
  assert.equal((await raw(spaces.port, { path: "ftp://nyc3.spaces.test/", host: "nyc3.spaces.test" })).status, 403);
  assert.match(
    (await raw(spaces.port, { path: "http://nyc3.spaces.test/", host: "mine.nyc3.spaces.test" })).text,
    /does not match/,
  );
  assert.match(
    await firstLine("CONNECT nyc3.spaces.test:80 HTTP/1.1\r\nHost: nyc3.spaces.test\r\n\r\n"),
    /^HTTP\/1\.1 403 /,
  );
  assert.match(await firstLine("GET / HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 403 /);
  assert.match(await firstLine("nonsense\r\n\r\n"), /^HTTP\/1\.1 400 /);
});

test("absolute-form requests reach both styles", async () => {
  const virtual = signed(spaces.full, { path: "/secret", host: "mine.nyc3.spaces.test" });
  const answer = await raw(spaces.port, {
    path: "http://mine.nyc3.spaces.test/secret",
    host: "mine.nyc3.spaces.test",
    headers: virtual,
  });
  assert.deepEqual([answer.status, answer.text], [200, "mine"]);
  const path = signed(spaces.full, { path: "/mine/secret" });
  assert.equal((await raw(spaces.port, { path: "http://nyc3.spaces.test/mine/secret", headers: path })).text, "mine");
});

test("the object store's key is in nobody's sight, and its socket is of no use without it", async () => {
  const cmdline = await readFile(`/proc/${spaces.spaces.pid}/cmdline`, "utf8");
  const environment = await readFile(`/proc/${spaces.spaces.pid}/environ`, "utf8");
  const secret = /ROOT_SECRET_ACCESS_KEY=([0-9a-f]{64})/.exec(environment)?.[1];
  assert.ok(secret !== undefined && !cmdline.includes(secret));
  assert.ok(!spaces.logged.join("\n").includes(secret));
  const socketPath = `\0${/@(chillbox-spaces-[0-9a-f]+)/.exec(cmdline)?.[1]}`;
  assert.match(await firstLine("GET /mine/secret HTTP/1.1\r\nHost: localhost\r\n\r\n", socketPath), / 403 /);
});

async function unharmed(): Promise<void> {
  for (const bucket of ["mine", "victim"])
    assert.equal((await send(spaces.full, { path: `/${bucket}/secret` })).text, bucket);
  assert.equal(await readFile(join(spaces.folder, "data", "outside"), "utf8"), "outside");
  assert.equal(await readFile(join(spaces.folder, "outside"), "utf8"), "outside");
}

function send(key: TestKey, wanted: ToSign, body = ""): Promise<RawAnswer> {
  const headers = signed(key, { ...wanted, hash: sha256(body) });
  return raw(spaces.port, { method: wanted.method ?? "GET", path: wanted.path, body, headers });
}

/** Signs the path as the front decodes and encodes it, so that the signature is good and only the path can be the matter. */
function sendDecoded(key: TestKey, wanted: ToSign, body = ""): Promise<RawAnswer> {
  const path = decodeURIComponent(wanted.path).split("/").map(encodeURIComponent).join("/");
  const headers = signed(key, { ...wanted, path, hash: sha256(body) });
  return raw(spaces.port, { method: wanted.method ?? "GET", path: wanted.path, body, headers });
}

function deletion(key: TestKey, body: string): Promise<RawAnswer> {
  return send(key, { method: "POST", path: "/mine?delete" }, body);
}

function firstLine(request: string, socketPath?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = socketPath === undefined ? connect(spaces.port, "127.0.0.1") : connect(socketPath);
    socket.on("error", reject);
    socket.once("data", (data) => {
      socket.destroy();
      resolve(data.toString().split("\r\n")[0] ?? "");
    });
    socket.write(request);
  });
}
