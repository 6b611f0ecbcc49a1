import { cpSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

const hello = resolve(import.meta.dirname, "../../sites/hello");

/** A site made for a test. Its page, its nginx and its service each say the same word, so that one can see which release each is of. */
export interface TestSite {
  readonly slug: string;
  /** Of its Python service "api". */
  readonly port: number;
}

/**
 * Makes a release's tree.
 * @param folder holds one tree a slug; what is there of this slug is replaced
 * @param word what the page at / says
 * @param application text of the service's app.py; default: one that answers with the word
 * @returns the tree's folder, named by the slug
 */
export function makeTree(folder: string, slug: string, word: string, application = answering(word)): string {
  const tree = join(folder, slug);
  rmSync(tree, { recursive: true, force: true });
  mkdirSync(join(tree, "nginx/root"), { recursive: true });
  writeFileSync(join(tree, "nginx/root/index.html"), `${word}\n`);
  cpSync(join(hello, "api"), join(tree, "api"), { recursive: true });
  const module = `${slug}_api`;
  renameSync(join(tree, "api/hello_api"), join(tree, "api", module));
  const project = readFileSync(join(tree, "api/pyproject.toml"), "utf8").replaceAll("hello_api", module);
  writeFileSync(join(tree, "api/pyproject.toml"), project);
  writeFileSync(join(tree, "api", module, "app.py"), application);
  return tree;
}

/** Text of a WSGI application that answers every path with a word; `first` are lines that run when it is imported. */
export function answering(word: string, first = ""): string {
  return `${first}
def create_app():
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"${word}\\n"]
    return application
`;
}

/** The parts of a manifest that such a site needs: nginx answers /nginx with the word, the service answers /api/. */
export function siteParts(
  { slug, port }: TestSite,
  word: string,
): { services: Record<string, unknown>[]; nginx: string } {
  return {
    services: [{ name: "api", lang: "python", handler: "api", host: "127.0.0.1", port, workers: 1, environment: {} }],
    nginx: `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name ${slug}.test;
  root /srv/${slug}/root;
  access_log /var/log/nginx/${slug}/access.log;
  location = /nginx { return 200 "${word}\\n"; }
  location /api/ { proxy_pass http://127.0.0.1:${port}; }
  location /.well-known/acme-challenge/ { root /srv/chillbox; }
}
`,
  };
}
