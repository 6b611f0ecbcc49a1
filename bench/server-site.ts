import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { requirementsFile } from "../lib/wheels.ts";
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
  await server.setUp();
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

/** What a release may differ in from the ordinary one. */
export interface ReleaseOptions {
  /** Folder with Flask's wheels, as chillbox carries them: then the service is a Flask application with exactly these packages. */
  readonly flask?: string;
  /** Whether the service has settings of its own for gunicorn, so that it is a gunicorn of its own and not forked from the zygote. */
  readonly alone?: boolean;
  /** A comment in requirements.txt: with another one pip makes the virtual environment anew. */
  readonly requirements?: string;
}

/**
 * The manifest of a release of a site with a page and one WSGI service "api" of one gunicorn worker, which answers each request with the
 * release's word and the bytes of the request's body.
 * @param word another word is another release, with other code
 */
export async function release(
  server: TestServer,
  slug: string,
  port: number,
  word: string,
  options: ReleaseOptions = {},
) {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-bench-site-"));
  try {
    for (const [path, text] of Object.entries(treeOf(slug, word, options))) put(folder, path, text);
    for (const wheel of options.flask ? readdirSync(options.flask) : []) {
      if (isOfFlask(wheel)) cpSync(join(options.flask ?? "", wheel), join(folder, "api/wheels", wheel));
    }
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

function put(folder: string, path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

/** Files of a release's tree by their paths. */
function treeOf(slug: string, word: string, options: ReleaseOptions): Record<string, string> {
  const { flask, alone, requirements } = options;
  const module = `${slug.replaceAll("-", "_")}_api`;
  return {
    "nginx/root/index.html": `${word}\n`,
    [`api/${module}/__init__.py`]: "",
    [`api/${module}/app.py`]: flask === undefined ? plainApplication(word) : flaskApplication(word),
    "api/pyproject.toml": projectFile(module),
    ...(flask === undefined ? {} : { "api/requirements.txt": `--find-links ./wheels\n${flaskRequirements()}` }),
    ...(requirements === undefined ? {} : { "api/requirements.txt": `# ${requirements}\n` }),
    ...(alone ? { "api/gunicorn.conf.py": "# Nothing differs.\n" } : {}),
  };
}

const flaskPackages = ["blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug"];

function isOfFlask(wheel: string): boolean {
  return flaskPackages.includes(wheel.split("-")[0] ?? "");
}

/** Flask and what it needs, with hashes, out of the list of what chillbox carries. */
function flaskRequirements(): string {
  const list = readFileSync(join(import.meta.dirname, "..", requirementsFile("chill")), "utf8");
  const blocks = list.split(/\n(?=\S)/);
  return blocks.filter((block) => flaskPackages.includes(block.split("==")[0] ?? "")).join("\n");
}

function plainApplication(word: string): string {
  return `def create_app():
    def application(environ, start_response):
        body = environ["wsgi.input"].read()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [f"${word} {len(body)}\\n".encode()]
    return application
`;
}

function flaskApplication(word: string): string {
  return `from flask import Flask, request
def create_app():
    app = Flask(__name__)
    @app.route("/api/", methods=["GET", "POST"])
    def index():
        return f"${word} {len(request.get_data())}\\n"
    return app
`;
}

function projectFile(module: string): string {
  return `[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "${module}"
version = "1.0.0"

[tool.setuptools]
packages = ["${module}"]
`;
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
