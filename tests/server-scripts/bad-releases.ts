import { randomBytes } from "node:crypto";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { hostileArchives } from "../hostile-archives.ts";
import { answering } from "./test-site.ts";

/** A good release of the site "app" with its service "api" on port 8101, made bad in one way. */
export interface BadRelease {
  readonly name: string;
  /** Text of app_api/app.py. */
  readonly application?: string;
  /** Changes the release's tree, of which it is told the folder. */
  readonly tree?: (tree: string) => void;
  /** Keys of the service in the manifest. */
  readonly service?: Record<string, unknown>;
  readonly nginx?: string;
  /** Another service or worker, beside "api". */
  readonly also?: Record<string, unknown>;
  /** Keys of the manifest. */
  readonly manifest?: Record<string, unknown>;
  /** Lines of Python that fill another archive, which is offered in the place of the tree's: see `archive`. */
  readonly archive?: string;
  /** What is sent in the place of the manifest. */
  readonly send?: (manifest: Record<string, unknown>) => unknown;
  /** Run on the server, as root, before and after the install. */
  readonly before?: (root: (command: string) => Promise<string>) => Promise<unknown>;
  readonly after?: (root: (command: string) => Promise<string>) => Promise<unknown>;
  /** Visitors get answers of it until it fails. */
  readonly isSeen?: boolean;
  /** What the error says: what is wrong, and where. */
  readonly words: readonly RegExp[];
}

const notReady = /service api of app 1\.0\.\d+\+\w+ did not get ready, 1\.0\.\d+\+\w+ stays in use/;
const megabyte = 1 << 20;

/** With settings of its own a service runs with gunicorn's master; else it is forked from the zygote. */
const withMaster = (tree: string) => writeFileSync(join(tree, "api/gunicorn.conf.py"), "timeout = 20\n");

const applications: BadRelease[] = [
  {
    name: "an import of a module that is not there",
    application: answering("bad", "import not_there"),
    words: [notReady, /api: .*ModuleNotFoundError: No module named 'not_there'/],
  },
  {
    name: "a syntax error",
    application: "def create_app(:\n",
    words: [notReady, /app_api\/app\.py.*line 1[\s\S]*SyntaxError/],
  },
  {
    name: "no create_app",
    application: "",
    words: [notReady, /Failed to find attribute 'create_app' in 'app_api\.app'/],
  },
  {
    name: "a create_app that raises",
    application: "def create_app():\n    raise ValueError('no such luck')\n",
    words: [notReady, /ValueError: no such luck/],
  },
  {
    name: "an application that ends its process as if all was well",
    application: answering("bad", "import os\nos._exit(0)"),
    words: [notReady, /its process ended with exit code 0/],
  },
  {
    name: "an application that crashes with a signal",
    application: answering("bad", "import os\nos.kill(os.getpid(), 11)"),
    words: [notReady, /its process was ended by SIGSEGV/],
  },
  {
    name: "an application that ends gunicorn's master",
    application: answering("bad", "import os\nos.kill(os.getppid(), 9)"),
    tree: withMaster,
    words: [notReady, /its process was ended by SIGKILL/],
  },
  {
    name: "an application that takes more memory than the server has",
    application: answering("bad", "hoard = [b'x' * (1 << 24) for _ in range(200)]"),
    words: [notReady, /its process was ended by SIGKILL, perhaps for lack of memory/],
  },
  {
    name: "an application that asks for more memory than there is address space",
    application: answering("bad", "hoard = bytearray(1 << 60)"),
    words: [notReady, /MemoryError/],
  },
  {
    name: "an application that writes where it must not",
    application: answering("bad", "open('/usr/local/src/app/api/data', 'w')"),
    words: [notReady, /PermissionError: .*\/usr\/local\/src\/app\/api\/data/],
  },
  {
    name: "a gunicorn.conf.py that raises",
    tree: (tree) => writeFileSync(join(tree, "api/gunicorn.conf.py"), "raise ValueError('bad settings')\n"),
    words: [notReady, /gunicorn\.conf\.py[\s\S]*ValueError: bad settings/],
  },
  {
    name: "a worker class that is not installed",
    service: { workerClass: "gevent" },
    words: [notReady, /gevent/],
  },
];

const healthPath = (lines: string) => `def create_app():
    def application(environ, start_response):
        if environ["PATH_INFO"] == "/health":
            ${lines}
        start_response("200 OK", [])
        return [b"bad\\n"]
    return application
`;

const health: BadRelease[] = [
  {
    name: "a 500 at the health path",
    application: healthPath('start_response("500 Internal Server Error", []); return []'),
    service: { health: { path: "/health", status: "200-399", timeoutSeconds: 2 } },
    words: [notReady, /\/health answered 500/],
  },
  {
    name: "an error at the health path",
    application: healthPath('raise KeyError("database")'),
    service: { health: { path: "/health", status: "200-399", timeoutSeconds: 2 } },
    words: [notReady, /KeyError: 'database'/],
  },
  {
    name: "a health path that never answers",
    application: healthPath("import time; time.sleep(1000)"),
    service: { health: { path: "/health", status: "200-399", timeoutSeconds: 2 } },
    words: [notReady],
  },
  {
    name: "an import that never ends",
    application: answering("bad", "import time\nprint('still loading', flush=True)\ntime.sleep(1000)"),
    service: { health: { path: "/health", status: "200-399", timeoutSeconds: 2 } },
    words: [notReady, /still loading/],
  },
];

/** Crashes a second after its first visitor, when it has answered one: nobody's request is under way. */
const crashing = (lines: string) => `import os, time
visits = []

class Answer(list):
    def close(self):
        visits.append(time.monotonic())
        if visits[-1] > visits[0] + 1:
            ${lines}

def create_app():
    def application(environ, start_response):
        start_response("200 OK", [])
        return Answer([b"bad\\n"])
    return application
`;
const wentBack = /went back to 1\.0\.\d+\+\w+, which is in use/;

const onceInUse: BadRelease[] = [
  {
    name: "a crash right after the switch",
    application: crashing("os._exit(1)"),
    isSeen: true,
    words: [/app 1\.0\.\d+\+\w+ failed right after it was put to use/, wentBack],
  },
  {
    name: "a crash of gunicorn's master right after the switch",
    application: crashing("os.kill(os.getppid(), 9); os._exit(1)"),
    tree: withMaster,
    isSeen: true,
    words: [/app 1\.0\.\d+\+\w+ failed right after it was put to use/, wentBack],
  },
  {
    name: "a page that answers 500 once it is in use",
    nginx: `server { include /etc/nginx/conf.d/app.ssl_cert.include; server_name app.test; location / { return 500; }
      location /api/ { proxy_pass http://127.0.0.1:8101; } }\n`,
    isSeen: true,
    words: [/app 1\.0\.\d+\+\w+ does not answer/, wentBack],
  },
];

const inNginx = (lines: string) =>
  `${lines}\nserver { include /etc/nginx/conf.d/app.ssl_cert.include; server_name app.test; }\n`;
const refusedByNginx = /nginx refuses the site's configuration/;

const nginx: BadRelease[] = [
  {
    name: "nginx: an unknown directive",
    nginx: inNginx("liste 80;"),
    words: [refusedByNginx, /"liste" in .*app\.conf:2/],
  },
  {
    name: "nginx: a brace too few",
    nginx: "server { listen 80; location / {\n",
    words: [refusedByNginx, /unexpected end of file/],
  },
  {
    name: "nginx: an upstream that the neighbour has",
    nginx: inNginx("upstream next { server 127.0.0.1:8101; }\nupstream next { server 127.0.0.1:8101; }"),
    words: [refusedByNginx, /duplicate upstream "next"/],
  },
  {
    name: "nginx: a log where root alone writes",
    nginx: inNginx('log_format owned escape=none "$http_line"; access_log /etc/crontabs/root owned;'),
    words: [refusedByNginx, /\/etc\/crontabs\/root.*Permission denied/],
  },
  {
    name: "nginx: a module",
    nginx: inNginx("load_module /var/lib/app/api/evil.so;"),
    words: [refusedByNginx, /"load_module" directive is not allowed here/],
  },
  {
    name: "nginx: a file that is not there",
    nginx: inNginx("include /etc/nginx/not-there.conf;"),
    words: [refusedByNginx, /not-there\.conf.*No such file/],
  },
  {
    name: "nginx: a variable that nobody defines",
    nginx: inNginx("# $" + "{API_HOST}"),
    words: [/the manifest's nginx still has \$\{API_HOST\} in it/],
  },
];

const ports: BadRelease[] = [
  {
    name: "a port that the neighbour has",
    service: { port: 8102 },
    words: [/app wants what next already has: port 8102/],
  },
  {
    name: "a port that a process of the system has",
    service: { port: 8190 },
    before: (root) => root("nc -l -p 8190 -s 127.0.0.1 </dev/zero >/dev/null 2>&1 & echo $! >/run/taken"),
    after: (root) => root("kill $(cat /run/taken); rm /run/taken"),
    words: [/127\.0\.0\.1:8190 for app\.:8190: .*Address (already )?in use/],
  },
  {
    name: "a name that the neighbour answers to",
    manifest: { domains: ["app.test", "next.test"] },
    words: [/app wants what next already has: the name next\.test/],
  },
];

/** A file in the service's folder. */
const file = (name: string, text: string) => (tree: string) => {
  mkdirSync(join(tree, "api", name, ".."), { recursive: true });
  writeFileSync(join(tree, "api", name), text);
};
const pipFailed = /app's service api: pip failed: /;

const packages: BadRelease[] = [
  {
    name: "pip: a requirement that the release does not carry",
    tree: file("requirements.txt", "not-there==1.0\n"),
    words: [pipFailed, /No matching distribution found for not-there==1\.0/],
  },
  {
    name: "pip: a wheel with another hash",
    tree: (tree) => {
      file("dep/thing-1.0-py3-none-any.whl", "PK other content")(tree);
      file("requirements.txt", `--find-links ./dep\nthing==1.0 --hash=sha256:${"0".repeat(64)}\n`)(tree);
    },
    words: [pipFailed, /Expected sha256 0{64}/],
  },
  {
    name: "pip: a wheel for another Python",
    tree: (tree) => {
      file("dep/thing-1.0-cp27-cp27m-musllinux_1_2_x86_64.whl", "PK")(tree);
      file("requirements.txt", "--find-links ./dep\nthing==1.0\n")(tree);
    },
    words: [pipFailed, /No matching distribution found for thing==1\.0/],
  },
  {
    name: "pip: a wheel that is none",
    tree: (tree) => {
      file("dep/thing-1.0-py3-none-any.whl", "no archive")(tree);
      file("requirements.txt", "--find-links ./dep\nthing==1.0\n")(tree);
    },
    words: [pipFailed, /thing-1\.0-py3-none-any\.whl.* has an invalid wheel|thing.* is invalid/],
  },
  {
    name: "pip: a line that is no requirement",
    tree: file("requirements.txt", "two words\n"),
    words: [pipFailed, /two words/],
  },
  {
    name: "pip: a setup.py that fails",
    tree: (tree) => {
      rmSync(join(tree, "api/pyproject.toml"));
      file("setup.py", "raise SystemExit('setup.py wants a compiler')\n")(tree);
    },
    words: [pipFailed, /setup\.py wants a compiler/],
  },
  {
    name: "pip: another Python than the server's",
    tree: file("pyproject.toml", '[project]\nname = "app_api"\nversion = "1"\nrequires-python = ">=4"\n'),
    words: [pipFailed, /requires a different Python: 3\.\d+\.\d+ not in '>=4'/],
  },
];

const archives: BadRelease[] = [
  {
    name: "an archive that is not in the bucket",
    send: (manifest) => ({ ...manifest, artifact: { ...(manifest.artifact as object), key: "not-there" } }),
    words: [/cannot download artifacts\/not-there: .*404/],
  },
  {
    name: "an archive with another digest",
    send: (manifest) => ({ ...manifest, artifact: { ...(manifest.artifact as object), sha256: "0".repeat(64) } }),
    words: [/the artifact of app has not the SHA-256 that the manifest says/],
  },
  {
    name: "an archive that is longer than the manifest says",
    send: (manifest) => ({ ...manifest, artifact: { ...(manifest.artifact as object), size: 100 } }),
    words: [/cannot download .*exceeded|the artifact of app has not the size/i],
  },
  {
    name: "an archive that is shorter than the manifest says",
    send: (manifest) => ({ ...manifest, artifact: { ...(manifest.artifact as object), size: megabyte } }),
    words: [/the artifact of app has not the size that the manifest says/],
  },
  {
    name: "an archive that was cut off",
    archive: 'file("app/a", "x" * 100000); cut(50000)',
    words: [/the archive is damaged: unexpected end of data|it ends early/],
  },
  {
    name: "an archive that is none",
    archive: 'instead(b"<html>not here</html>" * 100)',
    words: [/the archive is damaged/],
  },
  {
    name: "a release without the service's folder",
    archive: 'file("app/nginx/root/index.html")',
    words: [/no folder app\/api, which the site file's service api needs/],
  },
  ...hostileArchives.map(({ name, lines, server }) => ({ name: `hostile: ${name}`, archive: lines, words: [server] })),
];

const fill = (free: number) => (root: (command: string) => Promise<string>) =>
  root(`sync; fallocate -l $(( $(df -P -k / | awk 'END { print $4 }') * 1024 - ${free} )) /var/filler`);
const free = (root: (command: string) => Promise<string>) => root("rm /var/filler; sync");

const disks: BadRelease[] = [
  {
    name: "a disk too full to download to",
    tree: (tree) => writeFileSync(join(tree, "nginx/root/noise"), randomBytes(24 * megabyte)),
    before: fill(20 * megabyte),
    after: free,
    words: [/the disk has only \d+ MB free.*needs/],
  },
  {
    name: "a disk too full to unpack to",
    tree: (tree) => writeFileSync(join(tree, "nginx/root/zeros"), lines(90 * megabyte)),
    before: fill(80 * megabyte),
    after: free,
    words: [/the disk has only \d+ MB free.*needs/],
  },
  {
    name: "a disk that gets full while packages are installed",
    tree: (tree) => {
      rmSync(join(tree, "api/pyproject.toml"));
      file("setup.py", "open('zeros', 'wb').write(b'0' * (90 << 20))\n")(tree);
    },
    before: fill(80 * megabyte),
    after: free,
    words: [/app's service api: pip failed[\s\S]*No space left on device/],
  },
];

const manifests: BadRelease[] = [
  { name: "a manifest that is no JSON", send: () => "{", words: [/the manifest is not JSON/] },
  {
    name: "a port that is root's",
    service: { port: 80 },
    words: [/services\[0\]\.port 80 is not a whole number from 1024/],
  },
  {
    name: "a service whose name is a path",
    service: { name: "../x" },
    words: [/services\[0\]\.name "\.\.\/x" is not of the form/],
  },
  {
    name: "a variable for the loader",
    service: { environment: { LD_PRELOAD: "/x" } },
    words: [/LD_PRELOAD is the loader's/],
  },
  { name: "a language that is none", service: { lang: "php" }, words: [/services\[0\]\.lang ["']php["']/] },
];

/** A service or worker and its folder, for which only files are to be given. */
function also(part: Record<string, unknown>, files: Readonly<Record<string, string>>) {
  return {
    also: { handler: part.name, environment: {}, ...part },
    tree: (tree: string) => {
      mkdirSync(join(tree, String(part.name)));
      for (const [name, text] of Object.entries(files)) {
        writeFileSync(join(tree, String(part.name), name), text, { mode: text.startsWith("#!") ? 0o755 : 0o644 });
      }
    },
  };
}

const jobs = { name: "jobs", lang: "python-worker", count: 2 };
const pages = { name: "pages", lang: "chill", freeze: false, port: 8191 };
const redisRefuses = /Redis refuses what "redis" of the site file/;

const kinds: BadRelease[] = [
  {
    name: "a worker that dies at once",
    ...also({ ...jobs, runCommand: "./work" }, { work: "#!/bin/sh\necho no such queue\nexit 3\n" }),
    words: [/service jobs\.1 of app .* did not get ready.*its process ended with exit code 3/, /jobs: .*no such queue/],
  },
  {
    name: "a worker whose command is not there",
    ...also({ ...jobs, runCommand: "not-there --now" }, { "requirements.txt": "" }),
    words: [/service jobs\.1 of app .* did not get ready/, /jobs: .*not-there.*No such file/],
  },
  {
    name: "a worker whose command has an open quote",
    ...also({ ...jobs, runCommand: "rq 'worker" }, {}),
    words: [/services\[1\]\.runCommand cannot be split into words: no closing quotation/],
  },
  {
    name: "a chill without its data",
    ...also(pages, { "site.cfg": "" }),
    words: [/service pages of app .* did not get ready/, /pages: .*Error/],
  },
  {
    name: "a chill whose pages cannot be frozen",
    ...also(
      { ...pages, freeze: true },
      { "site.cfg": "", "chill-data.yaml": "--- !ChillNode\nname: x\nroute: /\ntemplate: none.html\n" },
    ),
    words: [/app's service pages: chill freeze failed/],
  },
  {
    name: "Redis: a directive that there is not",
    manifest: { redis: { maxmemry: "1mb" } },
    words: [redisRefuses, /no such directive:\n>>> 'maxmemry/],
  },
  {
    name: "Redis: a value that is none",
    manifest: { redis: { maxmemory: "lots" } },
    words: [redisRefuses, /maxmemory "lots"/],
  },
  {
    name: "Redis: a directive that loads code",
    manifest: { redis: { loadmodule: "/var/lib/app/evil.so" } },
    words: [/redis\.loadmodule is not for a site to say/],
  },
  {
    name: "Redis: users that are none",
    manifest: { redis: {} },
    tree: (tree) => {
      mkdirSync(join(tree, "redis"));
      writeFileSync(join(tree, "redis/users.acl"), "user x on nonsense\n");
    },
    words: [redisRefuses, /users\.acl:1: /],
  },
  {
    name: "cron: a minute that there is not",
    manifest: { crontab: ["* * * * * true", "61 * * * * true"] },
    words: [/the manifest's crontab\[1\]: the minute '61' is not a number from 0 to 59/],
  },
  {
    name: "cron: a line without a command",
    manifest: { crontab: ["* * * * *"] },
    words: [/the manifest's crontab\[0\] "\* \* \* \* \*" has not five fields and a command/],
  },
];

/** Every kind; those that wait for a time-out come last. */
export const badReleases: readonly BadRelease[] = [
  ...manifests,
  ...ports,
  ...archives,
  ...packages,
  ...nginx,
  ...applications,
  ...kinds,
  ...disks,
  ...onceInUse,
  ...health,
];

/** Text that packs well, but not so well that it is taken for a bomb. */
function lines(length: number): Buffer {
  const bytes = Buffer.alloc(length, "0");
  randomBytes(length >> 6).copy(bytes);
  return bytes;
}
