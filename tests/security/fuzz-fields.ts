import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { buildManifest, type Manifest } from "../../lib/manifest.ts";
import { buildRelease, checkVersion, type Release } from "../../lib/release.ts";
import { checkAllowed } from "../../lib/site-commands.ts";
import { readSiteFile } from "../../lib/site-file.ts";
import { UserError } from "../../lib/user-error.ts";

/** Any text in any text field of a site file: what the laptop makes of it, and how it must come back on the server. */

/** How a text comes back from a file that was rendered: by the tool that reads this file there. */
export type Back =
  /** s6-envdir: a variable of a service, a worker or the crontab (`_cron`). */
  | { readonly by: "environment"; readonly of: string; readonly name: string; readonly text: string }
  /** The shell: one of the words that a unit's run script ends with. */
  | { readonly by: "shell"; readonly unit: string; readonly text: string }
  /** The shell: the words of a worker's command, as the shell itself splits them. */
  | { readonly by: "words"; readonly unit: string; readonly text: string }
  /** The runner of the crontab, which hands its whole file to the shell. */
  | { readonly by: "cron"; readonly text: string }
  /** Redis: a password that it takes. */
  | { readonly by: "redis"; readonly text: string }
  /** nginx: what a visitor of this name gets. */
  | { readonly by: "nginx"; readonly domain: string; readonly text: string }
  /** What the site's visitors get as its version. */
  | { readonly by: "version"; readonly text: string };

/** A text in a field, and what became of it. */
export interface Sample {
  readonly field: string;
  readonly text: string;
  /** Why it was refused, if it was. */
  readonly refused?: string;
  /** What goes to the server otherwise; only if the text is in it. */
  readonly manifest?: Manifest;
  readonly backs?: readonly Back[];
}

interface Field {
  readonly name: string;
  /** Puts the text into a site file. */
  readonly put: (site: RawSite, text: string) => void;
  /** Where it comes back; none: it reaches nothing but the site file, and the manifest is as without it. */
  readonly backs?: (text: string, domain: string) => Back[];
  /** Whether the text is changed on purpose: variables in it are replaced, or a word of it is another field. */
  readonly skip?: (text: string) => boolean;
  /** It reaches the server as a name or a kind, which must be plain there: nothing comes back. */
  readonly isName?: true;
}

type RawSite = ReturnType<typeof baseSite>;

const slug = "fuzz";

function baseSite(domain: string) {
  return {
    $schema: "../site.schema.json",
    name: "Fuzz",
    server_name: domain,
    domain_list: [domain],
    release: "/nowhere",
    version: "1.0.0",
    contact: { owner: "owner@fuzz.test", technical: "technical@fuzz.test" },
    env: [{ name: "FUZZ", value: "plain" }] as { name: string; value: string; cmd?: string }[],
    crontab: ["0 0 1 1 * true"],
    redis: { requirepass: "plain" } as Record<string, string>,
    services: [
      {
        name: "api",
        lang: "python",
        handler: "api",
        environment: [
          { name: "PORT", value: "8001" },
          { name: "OWN", value: "plain" },
          { name: "FROM", value: "$FUZZ" },
        ],
        secrets_export_dockerfile: "Dockerfile",
        manifest: "MANIFEST",
        healthcheck: { path: "/", status: "200-399" } as { path: string; status: string },
      } as Record<string, unknown> & { environment: { name: string; value: string }[]; healthcheck: { path: string } },
    ],
    workers: [
      {
        name: "job",
        lang: "python-worker",
        handler: "job",
        "run-cmd": "true",
        environment: [{ name: "OWN", value: "plain" }],
        manifest: "MANIFEST",
      } as Record<string, unknown> & { environment: { name: string; value: string }[] },
    ],
  };
}

const template = `server {
  include /etc/nginx/conf.d/${slug}.ssl_cert.include;
  server_name $SERVER_NAME;
  location = / {
    default_type text/plain;
    return 200 "$FUZZ";
  }
}
`;

function release(artifact: string): Release {
  return {
    slug,
    version: "1.0.0",
    artifactPath: "/nowhere",
    artifactSha256: "ab".repeat(32),
    artifactSize: 1,
    artifactDigest: artifact,
    template,
    templateName: "nginx.conf.template",
    immutable: [],
    env: [],
  };
}

const surroundings = {
  serverName: "box.test",
  techEmail: "a@box.test",
  manageDns: false,
  acmeServer: "https://acme.test/dir",
  tls: true,
  artifactBucket: "artifacts",
  immutableBucket: "immutable",
  immutableBucketHost: "immutable.nyc3.spaces.test",
  s3Endpoint: "http://nyc3.spaces.test",
  subnet: "10.1.0.0/24",
};

const spaces = { endpoint: "http://nyc3.spaces.test", region: "nyc3", accessKey: "A", secretKey: "S" };

const [service, worker] = [0, 0] as const;
/** As Python writes JSON. */
const healthWord = (path: string, status: string) =>
  `CHILLBOX_HEALTH={"path": ${JSON.stringify(path)}, "status": ${JSON.stringify(status)}, "timeoutSeconds": 30}`;
/** What a variable's value may say of another one. */
const hasVariable = (text: string) => /\$\{?[A-Za-z_]/.test(text);

/** Every text field of the site file, in the order of `site.schema.json`. */
export const fields: readonly Field[] = [
  { name: "$schema", put: (site, text) => Object.assign(site, { $schema: text }) },
  { name: "name", put: (site, text) => Object.assign(site, { name: text }) },
  {
    name: "server_name",
    isName: true,
    put: (site, text) => Object.assign(site, { server_name: text, domain_list: [text] }),
  },
  { name: "release", put: (site, text) => Object.assign(site, { release: text }) },
  { name: "contact.owner", put: (site, text) => Object.assign(site.contact, { owner: text }) },
  { name: "contact.technical", put: (site, text) => Object.assign(site.contact, { technical: text }) },
  { name: "domain_list", isName: true, put: (site, text) => site.domain_list.push(text) },
  {
    name: "version",
    put: (site, text) => Object.assign(site, { version: text }),
    backs: (text) => [{ by: "version", text }],
  },
  {
    name: "env.name",
    put: (site, text) => site.env.push({ name: text, value: "plain" }),
    backs: (text) => [{ by: "environment", of: "_cron", name: text, text: "plain" }],
  },
  {
    name: "env.value",
    put: (site, text) => Object.assign(site.env[0] ?? {}, { value: text }),
    skip: hasVariable,
    backs: (text, domain) => [
      { by: "environment", of: "api", name: "FROM", text },
      { by: "environment", of: "_cron", name: "FUZZ", text },
      // A "$" is for nginx itself, which refuses one without a name.
      ...(text.includes("$") ? [] : [{ by: "nginx" as const, domain, text }]),
    ],
  },
  { name: "env.cmd", put: (site, text) => site.env.push({ name: "CMD", value: "", cmd: text }) },
  {
    name: "crontab",
    put: (site, text) => site.crontab.push(text),
    skip: hasVariable,
    backs: (text) => [{ by: "cron", text }],
  },
  {
    name: "crontab's command",
    put: (site, text) => site.crontab.push(`1 1 1 1 * echo ${text}`),
    skip: (text) => hasVariable(text) || /^[ \t]|[ \t]$/.test(text),
    backs: (text) => [{ by: "cron", text: `echo ${text}` }],
  },
  { name: "redis' directive", isName: true, put: (site, text) => Object.assign(site.redis, { [text]: "1" }) },
  {
    name: "redis' value",
    put: (site, text) => Object.assign(site.redis, { requirepass: text }),
    backs: (text) => [{ by: "redis", text }],
  },
  {
    name: "services.name",
    isName: true,
    put: (site, text) => Object.assign(site.services[service] ?? {}, { name: text }),
  },
  {
    name: "services.lang",
    isName: true,
    put: (site, text) => Object.assign(site.services[service] ?? {}, { lang: text }),
  },
  {
    name: "services.handler",
    isName: true,
    put: (site, text) => Object.assign(site.services[service] ?? {}, { handler: text }),
  },
  {
    name: "services.environment.name",
    put: (site, text) => site.services[service]?.environment.push({ name: text, value: "plain" }),
    backs: (text) => [{ by: "environment", of: "api", name: text, text: "plain" }],
  },
  {
    name: "services.environment.value",
    put: (site, text) => Object.assign(site.services[service]?.environment[1] ?? {}, { value: text }),
    skip: hasVariable,
    backs: (text) => [{ by: "environment", of: "api", name: "OWN", text }],
  },
  {
    name: "services.secrets_config",
    put: (site, text) => Object.assign(site.services[service] ?? {}, { secrets_config: text }),
    backs: (text) => {
      const path = `/run/tmp/chillbox_secrets/${slug}/api/${text}`;
      return [{ by: "environment", of: "api", name: "SECRETS_CONFIG", text: path }];
    },
  },
  {
    name: "services.secrets_export_dockerfile",
    put: (site, text) => Object.assign(site.services[service] ?? {}, { secrets_export_dockerfile: text }),
  },
  { name: "services.manifest", put: (site, text) => Object.assign(site.services[service] ?? {}, { manifest: text }) },
  {
    name: "services.worker_class",
    isName: true,
    put: (site, text) => Object.assign(site.services[service] ?? {}, { worker_class: text }),
  },
  {
    name: "services.log_level",
    isName: true,
    put: (site, text) => Object.assign(site.services[service] ?? {}, { log_level: text }),
  },
  {
    name: "services.healthcheck.path",
    put: (site, text) => Object.assign(site.services[service]?.healthcheck ?? {}, { path: text }),
    backs: (text) => [
      {
        by: "shell",
        unit: "api",
        text: healthWord(text, "200-399"),
      },
    ],
  },
  {
    name: "services.healthcheck.status",
    put: (site, text) => Object.assign(site.services[service]?.healthcheck ?? {}, { status: text }),
    backs: (text) => [
      {
        by: "shell",
        unit: "api",
        text: healthWord("/", text),
      },
    ],
  },
  {
    name: "workers.name",
    isName: true,
    put: (site, text) => Object.assign(site.workers[worker] ?? {}, { name: text }),
  },
  {
    name: "workers.lang",
    isName: true,
    put: (site, text) => Object.assign(site.workers[worker] ?? {}, { lang: text }),
  },
  {
    name: "workers.handler",
    isName: true,
    put: (site, text) => Object.assign(site.workers[worker] ?? {}, { handler: text }),
  },
  {
    name: "workers.run-cmd",
    put: (site, text) => Object.assign(site.workers[worker] ?? {}, { "run-cmd": text }),
    backs: (text) => [{ by: "words", unit: "job.1", text }],
  },
  {
    name: "workers.environment.name",
    put: (site, text) => site.workers[worker]?.environment.push({ name: text, value: "plain" }),
    backs: (text) => [{ by: "environment", of: "job", name: text, text: "plain" }],
  },
  {
    name: "workers.environment.value",
    put: (site, text) => Object.assign(site.workers[worker]?.environment[0] ?? {}, { value: text }),
    skip: hasVariable,
    backs: (text) => [{ by: "environment", of: "job", name: "OWN", text }],
  },
  {
    name: "workers.secrets_config",
    put: (site, text) => Object.assign(site.workers[worker] ?? {}, { secrets_config: text }),
    backs: (text) => {
      const path = `/run/tmp/chillbox_secrets/${slug}/job/${text}`;
      return [{ by: "environment", of: "job", name: "SECRETS_CONFIG", text: path }];
    },
  },
  { name: "workers.manifest", put: (site, text) => Object.assign(site.workers[worker] ?? {}, { manifest: text }) },
];

/**
 * Texts of all kinds, one of three as it would be written in that place: what shells, nginx, Redis, cron and Python take for their own,
 * with commands that leave a mark where they run.
 * @param mark path of the file that they would make
 */
export function texts(mark: string): fc.Arbitrary<string> {
  const command = `touch ${mark}`;
  const pieces = [
    ...`$(${command})|\`${command}\`|;${command};|\n${command}\n|"; ${command}; "|'; ${command}; '|&& ${command}|\${IFS}`.split(
      "|",
    ),
    `| ${command}`,
    `"$(${command})"`,
    ...[
      "$FUZZ",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is what a site file has
      "${FUZZ}",
      "$host",
      "$HOME",
      "~",
      "*",
      "?",
      "[a]",
      "{a,b}",
      "#",
      " #",
      "%",
      "%%",
      "\\n",
      "\\t",
      "\\x00",
    ],
    ...["'", '"', "`", "\\", ";", "{", "}", "|", "&", "<", ">", "(", ")", "!", "=", ",", ":", "/", "..", "../", "./"],
    ...[
      "\n",
      "\r",
      "\r\n",
      "\t",
      "\v",
      "\0",
      "\x1b[2J",
      "\x7f",
      "\u0085",
      "\u2028",
      "\u202e",
      "\ufeff",
      "\ufffd",
      "\ud800",
    ],
    ...[
      "é",
      "漢字",
      "😀",
      "e\u0301",
      "\u00a0",
      "\u200b",
      " ",
      "  ",
      "-",
      "--",
      "-rf",
      "--help",
      "__proto__",
      "constructor",
    ],
    ...[
      "return 200 x;",
      "} server {",
      "include /etc/passwd;",
      "requirepass",
      "0 0 1 1 *",
      "@daily",
      "@reboot",
      "PATH=/tmp",
    ],
    ...[
      "LD_PRELOAD",
      "PATH",
      "A",
      "a",
      "a1",
      "b-c",
      "x_y",
      "1.2.3",
      "+b1",
      "main.py",
      "example.test",
      "8000",
      "200-299",
      "/ok",
    ],
  ];
  return fc.oneof(
    fc.array(fc.constantFrom(...pieces), { minLength: 1, maxLength: 4 }).map((parts) => parts.join("")),
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 40 }),
  );
}

/**
 * What the laptop makes of so many texts in each field.
 * @param count texts for each field
 * @param seed the same one gives the same texts
 * @throws whatever is no UserError: a text that was neither taken nor refused with words
 */
export async function sampleFields(count: number, seed: number, mark: string): Promise<Sample[]> {
  const folder = mkdtempSync(join(tmpdir(), "chillbox-fuzz-"));
  const samples: Sample[] = [];
  try {
    for (const field of fields) {
      for (const [index, text] of fc.sample(texts(mark), { numRuns: count, seed }).entries()) {
        samples.push(await sample(folder, field, text, `f${samples.length}-${index}.test`));
      }
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return samples;
}

async function sample(folder: string, field: Field, text: string, domain: string): Promise<Sample> {
  const raw = baseSite(domain);
  field.put(raw, text);
  const path = join(folder, `${slug}.site.json`);
  writeFileSync(path, JSON.stringify(raw));
  const taken = { field: field.name, text };
  try {
    const site = await readSiteFile(path);
    checkAllowed([site], {}, "test");
    // A release of this name would be built: that there is none is for this field to say.
    if (field.name === "release") {
      // "/" and the like are folders, whose files nobody needs to read for this.
      if (existsSync(resolve(folder, text))) return taken;
      await buildRelease(site, { artifactsFolder: join(folder, "artifacts") });
      throw new Error(`${JSON.stringify(text)} was taken for a release`);
    }
    checkVersion(slug, site.version ?? "");
    const built = { ...release(domain), version: site.version ?? "", env: site.env };
    const rest = { surroundings, spaces, server: "1", by: "test", reason: "test" };
    const manifest = buildManifest({ site, release: built, ...rest });
    if (field.isName) return { ...taken, manifest, backs: [] };
    if (!field.backs) {
      refuseTrace(field, text, manifest);
      return taken;
    }
    return field.skip?.(text) ? taken : { ...taken, manifest, backs: field.backs(text, domain) };
  } catch (error) {
    if (!(error instanceof UserError))
      throw new Error(`${field.name} ${JSON.stringify(text)}: ${error}`, { cause: error });
    return { ...taken, refused: error.message };
  }
}

/** What nobody on the server reads must not get there. Texts that every site file here has say nothing. */
function refuseTrace(field: Field, text: string, manifest: Manifest): void {
  const written = JSON.stringify(text).slice(1, -1);
  if (text.length <= 8 || JSON.stringify(baseSite("")).includes(written)) return;
  if (JSON.stringify(manifest).includes(written)) {
    throw new Error(`${field.name} ${JSON.stringify(text)} is in the manifest`);
  }
}
