import assert from "node:assert/strict";
import { chmod, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { Header, Pax } from "tar";
import { packFolder, readArchive, readFolder, treeDigest, unpackArchive } from "../../../lib/archive.ts";

let folder: string;
before(async () => {
  folder = await mkdtemp(join(tmpdir(), "chillbox-archive-"));
});
after(() => rm(folder, { recursive: true }));

type Fields = ConstructorParameters<typeof Header>[0] & { content?: string };

/** A tar file of exactly these entries, hostile ones included, which no packer would write. */
async function makeTar(entries: Fields[], options: { end?: boolean; pax?: boolean } = {}): Promise<string> {
  const blocks: Buffer[] = [];
  for (const fields of entries) {
    const { content = "", ...rest } = fields as { content?: string; path: string };
    const all = { mode: 0o644, uid: 0, gid: 0, mtime: new Date(0), type: "File", size: content.length, ...rest };
    const header = new Header(all as Fields);
    if (header.encode()) blocks.push(new Pax({ path: all.path }).encode());
    blocks.push(header.block as Buffer);
    if (content !== "") blocks.push(Buffer.from(content), Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  if (options.end !== false) blocks.push(Buffer.alloc(1024));
  const path = join(folder, `${Math.random()}.tar`);
  await writeFile(path, Buffer.concat(blocks));
  return path;
}

const fine: Fields = { path: "hello/a", content: "a" };

test("a good archive is read, with and without ./ and folders", async () => {
  const plain = await readArchive(await makeTar([fine, { path: "hello/b/c", content: "c", mode: 0o755 }]));
  const folders = [
    { path: "./hello/", type: "Directory" },
    { path: "./hello/b/", type: "Directory" },
  ] as Fields[];
  const dotted = await readArchive(
    await makeTar([
      ...folders,
      { path: "./hello/b/c", content: "c", mode: 0o700 },
      { path: "./hello/a", content: "a", mode: 0o600 },
    ]),
    { topFolder: "hello" },
  );
  assert.deepEqual(
    plain.map((entry) => [entry.path, entry.mode]),
    [
      ["hello/a", 0o644],
      ["hello/b/c", 0o755],
    ],
  );
  assert.equal(treeDigest(plain), treeDigest(dotted));
});

const hostile: [string, Fields[], RegExp][] = [
  ["an absolute path", [{ path: "/etc/passwd" }], /absolute path/],
  ["a path with ..", [{ path: "hello/../../x" }], /"\.\."/],
  ["a path with an empty part", [{ path: "hello//x" }], /between two slashes/],
  ["a file at the top", [{ path: "hello" }], /beside the top-level folder/],
  ["a second top folder", [fine, { path: "other/x" }], /second top-level folder, beside "hello"/],
  ["a hard link", [fine, { path: "hello/b", type: "Link", linkpath: "hello/a" }], /hard link/],
  ["a device", [{ path: "hello/null", type: "CharacterDevice" }], /kind "CharacterDevice"/],
  ["a block device", [{ path: "hello/sda", type: "BlockDevice" }], /kind "BlockDevice"/],
  ["a fifo", [{ path: "hello/pipe", type: "FIFO" }], /kind "FIFO"/],
  ["a setuid file", [{ path: "hello/su", mode: 0o4755 }], /setuid/],
  ["a setgid file", [{ path: "hello/sg", mode: 0o2755 }], /setgid/],
  ["a control character", [{ path: "hello/a\u0007" }], /control character/],
  ["a newline", [{ path: "hello/a\nb" }], /control character/],
  ["a backslash", [{ path: "hello\\a" }], /backslash/],
  ["a name twice", [fine, fine], /is there twice/],
  ["names that differ in case", [fine, { path: "hello/A" }], /only in upper and lower case/],
  ["folders that differ in case", [{ path: "hello/B/x" }, { path: "hello/b/y" }], /only in upper and lower case/],
  ["a file that is a folder, too", [{ path: "hello/a/b" }, { path: "hello/a" }], /both a folder and something else/],
  [
    "a link to an absolute path",
    [{ path: "hello/l", type: "SymbolicLink", linkpath: "/etc" }],
    /absolute path "\/etc"/,
  ],
  ["a link that leaves", [{ path: "hello/l", type: "SymbolicLink", linkpath: "../x" }], /leaves the archive's folder/],
  [
    "a link with .. after a name",
    [{ path: "hello/d/l", type: "SymbolicLink", linkpath: "a/../../x" }],
    /"\.\." after a name/,
  ],
  [
    "a file behind a link",
    [{ path: "hello/l", type: "SymbolicLink", linkpath: "b" }, { path: "hello/l/x" }],
    /behind a symbolic link/,
  ],
];
for (const [what, entries, problem] of hostile) {
  test(`${what} is refused`, async () => {
    await assert.rejects(readArchive(await makeTar(entries)), (error: Error) => {
      assert.equal(error.name, "UserError", error.stack);
      assert.match(error.message, problem);
      return true;
    });
  });
}

test("another top folder than the expected one is refused", async () => {
  await assert.rejects(readArchive(await makeTar([fine]), { topFolder: "shop" }), /not in the folder "shop"/);
});

test("links inside the folder are allowed", async () => {
  const entries = await readArchive(
    await makeTar([{ path: "hello/d/l", type: "SymbolicLink", linkpath: "../a" }, fine]),
  );
  assert.equal(entries[0]?.target, "../a");
});

test("limits: entries, bytes, ratio", async () => {
  const two = await makeTar([fine, { path: "hello/b", content: "bb" }]);
  const limits = { bytes: 100, entries: 100, ratio: 200 };
  await assert.rejects(readArchive(two, { limits: { ...limits, entries: 1 } }), /more than the 1 entries allowed/);
  await assert.rejects(readArchive(two, { limits: { ...limits, bytes: 2 } }), /more than the 2 bytes allowed/);
  const bomb = join(folder, "bomb.tar.gz");
  await writeFile(
    bomb,
    gzipSync(await readFile(await makeTar([{ path: "hello/0", content: "0".repeat(20_000_000) }]))),
  );
  await assert.rejects(readArchive(bomb), /200 times/);
});

test("a cut-off archive is refused, packed or not, at any block", async () => {
  const whole = await readFile(await makeTar([fine, { path: "hello/b", content: "b".repeat(600) }]));
  for (const length of [0, 100, 512, 700, 1024, 1536, 2048, whole.length - 1024]) {
    const file = join(folder, `cut-${length}.tar`);
    await writeFile(file, whole.subarray(0, length));
    await assert.rejects(readArchive(file), { name: "UserError" }, `${length} bytes`);
  }
  const packed = gzipSync(whole);
  await writeFile(join(folder, "cut.tar.gz"), packed.subarray(0, packed.length - 12));
  await assert.rejects(readArchive(join(folder, "cut.tar.gz")), { name: "UserError" });
});

test("what is no archive is refused", async () => {
  const file = join(folder, "text");
  await writeFile(file, "hello\n".repeat(1000));
  await assert.rejects(readArchive(file), { name: "UserError" });
});

test("packing the same tree gives the same bytes; unpacking gives the same tree", async () => {
  const long = `${"long/".repeat(40)}${"n".repeat(120)}`;
  const packed = [];
  for (const name of ["one", "two"]) {
    const tree = join(folder, name);
    await mkdir(join(tree, long, ".."), { recursive: true });
    await writeFile(join(tree, long), "long");
    await writeFile(join(tree, "run.sh"), "#!/bin/sh\n");
    await chmod(join(tree, "run.sh"), name === "one" ? 0o700 : 0o775);
    await symlink("run.sh", join(tree, "link"));
    await utimes(join(tree, "run.sh"), name === "one" ? 1 : 2, 3);
    packed.push(await packFolder(tree, await readFolder(tree), join(folder, `${name}.tar.gz`), "hello"));
  }
  assert.deepEqual(packed[0], packed[1]);
  const entries = await readArchive(join(folder, "one.tar.gz"), { topFolder: "hello" });
  assert.deepEqual(entries.at(-1)?.path, "hello/run.sh");
  await unpackArchive(join(folder, "one.tar.gz"), join(folder, "out"));
  assert.equal(treeDigest(await readFolder(join(folder, "out"))), treeDigest(await readFolder(join(folder, "one"))));
});

test("dates follow the content, so that a browser sees a change that keeps the size", async () => {
  const dates = [];
  for (const content of ["a", "b"]) {
    const tree = join(folder, `dated-${content}`);
    await mkdir(tree);
    await writeFile(join(tree, "page.html"), content);
    const file = join(folder, `dated-${content}.tar`);
    await packFolder(tree, await readFolder(tree), file, "hello");
    dates.push(new Header((await readFile(file)).subarray(512)).mtime?.getTime());
  }
  assert.notEqual(dates[0], dates[1]);
});
