import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, symlink } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { after } from "node:test";
import { sha256 } from "../../../lib/archive.ts";
import { carriedSets, requirementsFile, wheelsFolder } from "../../../lib/wheels.ts";

/** A wheel that holds only metadata. */
const makeWheel = `
import sys, zipfile
path, name, version, *needs = sys.argv[1:]
with zipfile.ZipFile(path, "w") as archive:
    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    archive.writestr(zipfile.ZipInfo(f"{info}/METADATA"), "\\n".join(lines) + "\\n")
    archive.writestr(zipfile.ZipInfo(f"{info}/WHEEL"), "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
    archive.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
`;

/** A source archive whose setup.py must not be run by the check. */
const makeSource = `
import io, sys, tarfile
path, name, version, *needs = sys.argv[1:]
with tarfile.open(path, "w:gz") as archive:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {need}" for need in needs)]
    for inside, text in (("PKG-INFO", "\\n".join(lines) + "\\n"), ("setup.py", "raise SystemExit('was run')\\n")):
        entry = tarfile.TarInfo(f"{name}-{version}/{inside}")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text.encode()))
`;

/** Makes a package without any file: a wheel (`name-version-....whl`) or a source archive (`name-version.tar.gz`). */
export async function makePackage(path: string, needs: readonly string[] = []): Promise<void> {
  const [name = "", version = ""] = path
    .slice(path.lastIndexOf("/") + 1)
    .replace(/\.tar\.gz$/, "")
    .split("-");
  const script = path.endsWith(".whl") ? makeWheel : makeSource;
  await mkdir(dirname(path), { recursive: true });
  execFileSync("python3", ["-c", script, path, name, version, ...needs]);
}

/** A package index on loopback with these wheels, kept below `folder`; it ends with the tests of the file. */
export async function startIndex(folder: string, names: readonly string[]): Promise<{ url: string; asked: string[] }> {
  const packages = join(folder, "index");
  await rm(packages, { recursive: true, force: true });
  for (const name of names) await makePackage(join(packages, name));
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    const [, kind, name = ""] = (request.url ?? "").split("/");
    asked.push(name);
    if (kind === "files") return response.end(await readFile(join(packages, name)));
    const found = (await readdir(packages)).filter((file) => file.startsWith(`${name}-`));
    const hrefs = await Promise.all(
      found.map(
        async (file) => `<a href="/files/${file}#sha256=${sha256(await readFile(join(packages, file)))}">${file}</a>`,
      ),
    );
    response.setHeader("content-type", "text/html");
    response.end(hrefs.join("\n"));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}/simple`, asked };
}

/** A cache in which nothing is proven or fetched yet, but for the wheels that set-up fetches. @returns what XDG_CACHE_HOME has to be */
export async function ownCache(folder: string): Promise<string> {
  const cache = join(folder, "cache");
  for (const { name } of carriedSets.filter(({ pure }) => pure)) {
    const requirements = join(import.meta.dirname, "../../..", requirementsFile(name));
    const link = await wheelsFolder(requirements, undefined, { XDG_CACHE_HOME: cache });
    await mkdir(dirname(link), { recursive: true });
    await symlink(await wheelsFolder(requirements), link);
  }
  return cache;
}
