import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { after, before, type TestContext, test } from "node:test";
import { gzipSync } from "node:zlib";
import { recognise } from "../../local-cloud/api/disk-image.ts";
import { unpack } from "../../local-cloud/api/image-unpack.ts";
import { type HostedFile, ImageHost } from "./api/image-host.ts";
import { eventually, type Json, TestApi } from "./api/support.ts";

const mebibyte = 1024 ** 2;
let folder = "";
let raw: Buffer = Buffer.alloc(0);
let qcow2: Buffer = Buffer.alloc(0);

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "chillbox-images-"));
  const path = join(folder, "disk.raw");
  writeFileSync(path, "");
  execFileSync("truncate", ["--size=16M", path]);
  execFileSync("mkfs.ext4", ["-q", path]);
  raw = readFileSync(path);
  qcow2 = makeQcow2("disk.qcow2", ["convert", "-f", "raw", "-O", "qcow2", "-c", path]);
});

after(() => rm(folder, { recursive: true, force: true }));

function makeQcow2(name: string, args: readonly string[], rest: readonly string[] = []): Buffer {
  execFileSync("qemu-img", [...args, join(folder, name), ...rest], { stdio: "pipe" });
  return readFileSync(join(folder, name));
}

async function start(t: TestContext) {
  const host = await ImageHost.start(t);
  const api = await TestApi.start(t, { spacesProxy: host.address });
  const create = async (url: string) => {
    const body = { name: "alpine", url, region: "nyc3", distribution: "Unknown" };
    return (await api.ok("POST", "/v2/images", body)).image;
  };
  /** Imports a file under this name; the first look waits for the end. */
  const importFile = async (name: string, file: HostedFile | Buffer) => {
    host.files.set(`/${name}`, Buffer.isBuffer(file) ? { body: file } : file);
    const { id } = await create(`http://b.nyc3.spaces.test/${name}`);
    return (await api.ok("GET", `/v2/images/${id}`)).image;
  };
  return { host, api, create, importFile };
}

test("raw and qcow2, plain, gzip and bzip2 become the same raw image", async (t) => {
  const { host, api, importFile } = await start(t);
  const bzip2 = (data: Buffer) => execFileSync("bzip2", ["--stdout"], { input: data, maxBuffer: 64 * mebibyte });
  const files: Record<string, Buffer> = {
    "a.img": raw,
    "a.raw.gz": gzipSync(raw),
    "a.img.bz2": bzip2(raw),
    "a.qcow2": qcow2,
    "a.qcow2.gz": gzipSync(qcow2),
    "A.QCOW2.BZ2": bzip2(qcow2),
  };
  for (const [name, data] of Object.entries(files)) {
    const image = await importFile(name, data);
    assert.deepEqual([image.status, image.error_message], ["available", ""], name);
    assert.deepEqual([image.min_disk_size, image.size_gigabytes], [1, 0.02], name);
    assert.deepEqual([image.type, image.public, image.slug, image.regions], ["custom", false, null, ["nyc3"]]);
    const path = join(api.images, `${image.id}.raw`);
    assert.ok(readFileSync(path).equals(raw), name);
    assert.ok(statSync(path).blocks * 512 < raw.length / 2, `${name} has holes`);
    assert.equal(statSync(path).mode & 0o777, 0o600);
  }
  assert.deepEqual(host.requests.slice(0, 2), [
    "HEAD http://b.nyc3.spaces.test/a.img",
    "GET http://b.nyc3.spaces.test/a.img",
  ]);
  assert.equal(readdirSync(api.images).filter((name) => name.endsWith(".part")).length, 0);
});

test("a new image is NEW; the first look waits, the next does not", async (t) => {
  const { host, api, create } = await start(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  const answer: HostedFile["answer"] = (request, response) => {
    if (request.method === "HEAD") response.end();
    else void promise.then(() => response.end(raw));
  };
  host.files.set("/slow.img", { answer });
  const created = await create("http://x.test/slow.img");
  assert.equal(created.status, "NEW");
  const path = `/v2/images/${created.id}`;
  const first = api.ok("GET", path);
  await eventually(() => assert.ok(host.requests.includes("GET http://x.test/slow.img")));
  assert.equal((await api.ok("GET", path)).image.status, "NEW");
  assert.equal((await api.ok("GET", "/v2/images")).images.length, 1);
  await api.refused(422, /invalid image/, "POST", "/v2/droplets", { ...(await api.dropletBody()), image: created.id });
  resolve();
  assert.equal((await first).image.status, "available");
});

test("a sweep leaves an image alone whose import has not ended", async (t) => {
  const { host, api, create } = await start(t);
  const { promise, resolve } = Promise.withResolvers<void>();
  host.files.set("/slow.img", {
    answer: (request, response) => {
      if (request.method === "HEAD") response.end();
      else void promise.then(() => response.end(raw));
    },
  });
  const { id } = await create("http://x.test/slow.img");
  // As between the file's final name and the record of it.
  const path = join(api.images, `${id}.raw`);
  writeFileSync(path, "");
  const other = await create("http://x.test/other.img");
  await api.ok("DELETE", `/v2/images/${other.id}`);
  assert.ok(existsSync(path));
  resolve();
  assert.equal((await api.ok("GET", `/v2/images/${id}`)).image.status, "available");
});

test("redirects are followed, and not for ever", async (t) => {
  const { host, importFile } = await start(t);
  host.files.set("/real", { body: raw });
  const moved = await importFile("moved.img", { status: 302, headers: { location: "http://cdn.test/real" } });
  assert.equal(moved.status, "available");
  assert.ok(host.requests.includes("GET http://cdn.test/real"));
  const loop = await importFile("loop.img", { status: 301, headers: { location: "/loop.img" } });
  assert.match(loop.error_message, /redirects more than 5 times/);
  const file = await importFile("file.img", { status: 302, headers: { location: "file:///etc/passwd" } });
  assert.match(file.error_message, /neither http nor https/);
});

test("what cannot be imported is deleted, and says why", async (t) => {
  const { api, create, importFile } = await start(t);
  const failed = async (image: Json, message: RegExp) => {
    const shown = (await api.ok("GET", `/v2/images/${image.id}`)).image;
    assert.equal(shown.status, "deleted");
    assert.match(shown.error_message, message);
  };
  await failed(await create("http://x.test/a.img?signature=1"), /query string/);
  await failed(await create("http://x.test/a.img?"), /query string/);
  await failed(await create("http://x.test/a.iso"), /must end in \.img/);
  await failed(await create("http://x.test/a.img.xz"), /must end in \.img/);
  await failed(await create("http://x.test/"), /must end in \.img/);
  await failed(await create("ftp://x.test/a.img"), /http/);
  await failed(await create("file:///etc/passwd.img"), /http/);
  await failed(await create("https://x.test/a.img"), /http only/);
  await failed(await create("no url.img"), /http/);
  await failed(
    await create("http://x.test/missing.img"),
    /HEAD http:\/\/x\.test\/missing\.img was answered with status 404/,
  );
  await failed(await importFile("nohead.img", { body: raw, headStatus: 403 }), /HEAD .* status 403/);
  await failed(await importFile("page.img", Buffer.from("<html>not found</html>")), /not a raw or qcow2/);
  await failed(await importFile("empty.img", Buffer.alloc(0)), /not a raw or qcow2/);
  await failed(await importFile("plain.img.gz", raw), /not gzip-compressed/);
  await failed(await importFile("cut.img.gz", gzipSync(raw).subarray(0, 9000)), /gzip-compressed, or it is damaged/);
  await failed(await importFile("plain.img.bz2", raw), /not bzip2-compressed/);
  const whole = execFileSync("bzip2", ["--stdout"], { input: raw });
  await failed(
    await importFile("cut.img.bz2", whole.subarray(0, whole.length - 20)),
    /bzip2-compressed, or it is damaged/,
  );
  await failed(await importFile("twice.img.gz", gzipSync(gzipSync(raw))), /Twice gzip/);
  await failed(
    await importFile("huge.img", { headers: { "content-length": String(101 * 1024 ** 3) } }),
    /larger than 100 GB/,
  );
  const broken: HostedFile["answer"] = (request, response) => {
    response.writeHead(200, { "content-length": "1000000" });
    if (request.method === "HEAD") response.end();
    else response.write(raw.subarray(0, 5000), () => response.destroy());
  };
  await failed(await importFile("broken.img", { answer: broken }), /connection broke/);
  assert.deepEqual(readdirSync(api.images), []);
  assert.equal((await api.ok("GET", "/v2/images")).images.length, 0);
});

test("qcow2 files that refer to other files or are damaged are refused", async (t) => {
  const { api, importFile } = await start(t);
  const secret = join(folder, "secret.raw");
  writeFileSync(secret, Buffer.concat([Buffer.from("secret"), Buffer.alloc(mebibyte)]));
  const backed = makeQcow2("backed.qcow2", ["create", "-f", "qcow2", "-b", secret, "-F", "raw"]);
  assert.match((await importFile("backed.qcow2", backed)).error_message, /backing file/);
  const external = makeQcow2(
    "ext.qcow2",
    ["create", "-f", "qcow2", "-o", `data_file=${join(folder, "data.raw")}`],
    ["1M"],
  );
  assert.match((await importFile("ext.qcow2", external)).error_message, /data in another file/);
  const wide = makeQcow2("wide.qcow2", ["create", "-f", "qcow2"], ["101G"]);
  assert.match((await importFile("wide.qcow2", wide)).error_message, /larger than 100 GB/);
  const torn = qcow2.subarray(0, 70_000);
  assert.match((await importFile("torn.qcow2", torn)).error_message, /damaged/);
  const noise = Buffer.from(qcow2);
  noise.fill(0xff, 40, 72);
  assert.match((await importFile("noise.qcow2", noise)).error_message, /damaged/);
  assert.match((await importFile("short.qcow2", Buffer.from("QFI\xfb\0\0\0\x03", "latin1"))).error_message, /cut off/);
  assert.deepEqual(readdirSync(api.images), []);
});

test("other formats are recognised", () => {
  const refused = (text: string, offset = 0) => {
    const head = Buffer.alloc(34816);
    head.write(text, offset, "latin1");
    const found = recognise(head);
    return "refused" in found ? found.refused : "";
  };
  assert.match(refused("KDMV"), /VMDK/);
  assert.match(refused("vhdxfile"), /VHDX/);
  assert.match(refused("\x7f\x10\xda\xbe", 64), /VDI/);
  assert.match(refused("CD001", 32769), /ISO/);
  assert.match(refused("\xfd7zXZ\0"), /xz/);
  const boot = Buffer.alloc(512);
  boot.writeUInt16BE(0x55aa, 510);
  assert.deepEqual(recognise(boot), { format: "raw" });
  const gpt = Buffer.alloc(1024);
  gpt.write("EFI PART", 512);
  assert.deepEqual(recognise(gpt), { format: "raw" });
});

test("unpacking stops at the limits", async () => {
  const { signal } = new AbortController();
  const target = join(folder, "limit.part");
  const zeros = gzipSync(Buffer.alloc(8 * mebibyte));
  const noise = gzipSync(Buffer.alloc(mebibyte, "noise"));
  const run = (data: Buffer, bytes: number, room: number) =>
    unpack(Readable.from([data]), "/x.img.gz", target, { bytes, room }, signal);
  await assert.rejects(run(zeros, 4 * mebibyte, mebibyte), /larger than 100 GB/);
  await assert.rejects(run(noise, 4 * mebibyte, 1000), /not enough space/);
  // Zeros take no space.
  await run(zeros, 8 * mebibyte, 0);
  assert.equal(statSync(target).size, 8 * mebibyte);
  assert.equal(statSync(target).blocks, 0);
});

test("update, transfer, delete", async (t) => {
  const { api, importFile } = await start(t);
  const { id } = await importFile("a.img", raw);
  const path = `/v2/images/${id}`;
  const changed = (await api.ok("PUT", path, { name: "new", distribution: "Alpine", description: "d" })).image;
  assert.deepEqual([changed.name, changed.distribution, changed.description], ["new", "Unknown", "d"]);
  const { action } = await api.ok("POST", `${path}/actions`, { type: "transfer", region: "ams3" });
  assert.deepEqual([action.status, action.type, action.region_slug], ["completed", "transfer", "ams3"]);
  assert.equal((await api.ok("GET", `${path}/actions/${action.id}`)).action.id, action.id);
  assert.equal((await api.ok("GET", `${path}/actions`)).actions.length, 1);
  assert.deepEqual((await api.ok("GET", path)).image.regions, ["nyc3", "ams3"]);
  await api.refused(422, /Region/, "POST", `${path}/actions`, { type: "transfer", region: "mars1" });
  await api.refused(501, /convert/, "POST", `${path}/actions`, { type: "convert" });
  for (const [query, total] of [
    ["private=true", 1],
    ["type=distribution", 0],
    ["type=application", 0],
    ["tag_name=x", 0],
  ] as const) {
    assert.equal((await api.ok("GET", `/v2/images?${query}`)).meta.total, total, query);
  }

  await api.ok("DELETE", path);
  // Clients take a 404 for an error here.
  assert.equal((await api.ok("GET", path)).image.status, "deleted");
  await api.refused(422, /^Image Can not delete an already deleted image\.$/, "DELETE", path);
  await api.refused(404, /could not be found/, "PUT", path, { name: "x" });
  assert.equal(existsSync(join(api.images, `${id}.raw`)), false);
  await api.refused(404, /could not be found/, "GET", "/v2/images/ubuntu-24-04-x64");
});

test("the file of a deleted image stays until no droplet is being made from it", async (t) => {
  const { api, importFile } = await start(t);
  const { id } = await importFile("a.img", raw);
  const release = api.driver.hold();
  const { droplet } = await api.ok("POST", "/v2/droplets", { ...(await api.dropletBody()), image: id });
  await api.ok("DELETE", `/v2/images/${id}`);
  const path = join(api.images, `${id}.raw`);
  assert.ok(existsSync(path));
  release();
  await api.dropletWith(droplet.id, "active");
  await eventually(() => assert.equal(existsSync(path), false));
  assert.equal((await api.ok("GET", `/v2/droplets/${droplet.id}`)).droplet.image.id, id);
});

test("an import that a stop cut short begins anew after the start", async (t) => {
  const { host, api, create } = await start(t);
  let isSlow = true;
  const answer: HostedFile["answer"] = (request, response) => {
    if (request.method === "HEAD") response.end();
    else if (isSlow) response.write(raw.subarray(0, mebibyte));
    else response.end(raw);
  };
  host.files.set("/a.img", { answer });
  const { id } = await create("http://x.test/a.img");
  await eventually(() => assert.ok(host.requests.includes("GET http://x.test/a.img")));
  isSlow = false;
  writeFileSync(join(api.images, "77777.download.part"), "left by a kill");
  await api.restart();
  const { image } = await api.ok("GET", `/v2/images/${id}`);
  assert.deepEqual([image.status, image.error_message], ["available", ""]);
  assert.deepEqual(readdirSync(api.images), [`${id}.raw`]);
});
