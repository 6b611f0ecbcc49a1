import { execFileSync } from "node:child_process";
import { cpSync, createReadStream, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";

/** The example sites, laid out in a folder as site files that can be deployed. */
export interface LaidOut {
  /** Addresses that releases were asked for, in order. */
  readonly asked: readonly string[];
  /** Ends the server of the release that comes by URL. */
  close(): Promise<void>;
}

/**
 * Copies the example sites. The release of `heritage` becomes a tar file outside of that folder, named by its absolute path, and that of
 * `diary` one that an HTTP server on loopback has.
 * @param folder gets the site files; made if it is missing
 * @param releases a folder that is there, for the tar files
 */
export async function layOutExamples(folder: string, releases: string): Promise<LaidOut> {
  cpSync(import.meta.dirname, folder, {
    recursive: true,
    preserveTimestamps: true,
    filter: (path) => !/\/dist$|\.ts$/.test(path),
  });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    const file = join(releases, (request.url ?? "").slice(1));
    response.setHeader("ETag", `"${statSync(file).mtimeMs}"`);
    if (request.headers["if-none-match"] === response.getHeader("ETag")) response.writeHead(304).end();
    else createReadStream(file).pipe(response);
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const { port } = server.address() as AddressInfo;
  pack("diary", "diary-2.1.0.tar.gz", `http://127.0.0.1:${port}/`);
  pack("heritage", "heritage-0.3.1.tar.gz", `${releases}/`);
  return { asked, close: () => new Promise((closed) => server.close(() => closed())) };

  /** The tar file takes the place of the site's folder. */
  function pack(slug: string, file: string, prefix: string): void {
    execFileSync("tar", ["--create", "--gzip", "--file", join(releases, file), "--directory", folder, slug]);
    rmSync(join(folder, slug), { recursive: true });
    const siteFile = join(folder, `${slug}.site.json`);
    const text = readFileSync(siteFile, "utf8");
    writeFileSync(siteFile, text.replace(/"release": "[^"]*"/, `"release": ${JSON.stringify(prefix + file)}`));
  }
}
