import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { TestServer } from "../tests/server-scripts/server.ts";
import { setUp } from "../toolchain/setup.ts";
import { toRun } from "../toolchain/tools/index.ts";
import type { Bench } from "./group.ts";

/** What `chillbox-site install` and `rollback` say. */
export interface Switched {
  readonly result: string;
  readonly release: string;
  /** In all, and until visitors got the release. */
  readonly milliseconds: number;
  readonly switchMilliseconds: number;
}

/**
 * A server as `pulumi up` makes one, without a cloud, ready for sites. It goes away at the end.
 * @param options.memoryMiB of its plan; default: as much as there is
 */
export async function benchServer({ atEnd }: Bench, options: { memoryMiB?: number } = {}): Promise<TestServer> {
  await putAnsibleOnPath();
  const server = new TestServer(options);
  atEnd(() => server.close());
  await server.boot();
  for (const playbook of ["enrol", "configure"] as const) {
    const { code, errors } = await server.playbook(playbook);
    if (code !== 0) throw new Error(`${playbook} failed:\n${errors}`);
  }
  return server;
}

/** The playbooks of a server that is made without `npm run up` look for it there. */
export async function putAnsibleOnPath(): Promise<void> {
  const { ansible } = await setUp({ needs: toRun });
  const folder = dirname(ansible?.path ?? "");
  const folders = (process.env.PATH ?? "").split(delimiter).filter((other) => other !== folder);
  process.env.PATH = [folder, ...folders].join(delimiter);
}

/** Runs a site's command on the server; throws with what it said. */
export async function siteCommand(server: TestServer, command: "install" | "rollback", input: unknown) {
  const { code, out, errors } = await server.ssh(`doas chillbox-site ${command}`, input);
  if (code !== 0) throw new Error(`chillbox-site ${command} failed:\n${errors}`);
  return JSON.parse(out) as Switched;
}

/**
 * The manifest of a release of a site with a page and one WSGI service "api" of one gunicorn worker, which answers each request with the
 * release's word and the bytes of the request's body.
 * @param word another word is another release, with other code
 */
export async function release(server: TestServer, slug: string, port: number, word: string) {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-bench-site-"));
  try {
    writeTree(folder, slug, word);
    return await server.manifest(slug, folder, {
      version: `1.0.0-${word}`,
      services: [{ name: "api", lang: "python", handler: "api", host: "127.0.0.1", port, workers: 1, environment: {} }],
      nginx: nginxOf(slug, port),
      watchSeconds: 0,
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function writeTree(folder: string, slug: string, word: string): void {
  const module = `${slug.replaceAll("-", "_")}_api`;
  for (const path of ["nginx/root", `api/${module}`]) mkdirSync(join(folder, path), { recursive: true });
  writeFileSync(join(folder, "nginx/root/index.html"), `${word}\n`);
  writeFileSync(join(folder, `api/${module}/__init__.py`), "");
  writeFileSync(
    join(folder, `api/${module}/app.py`),
    `def create_app():
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"${word} {len(body)}\\n".encode()]
    return application
`,
  );
  const project = `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "${module}"
version = "1.0.0"

[tool.setuptools]
packages = ["${module}"]
`;
  writeFileSync(join(folder, "api/pyproject.toml"), project);
}

function nginxOf(slug: string, port: number): string {
  return `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name ${slug}.test;
  root /srv/${slug}/root;
  access_log /var/log/nginx/${slug}/access.log;
  location /api/ { proxy_pass http://127.0.0.1:${port}; }
}
`;
}
