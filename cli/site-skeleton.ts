/** Kinds of site that can be begun. */
export type SiteKind = "static" | "immutable" | "python" | "worker" | "chill";

/** Where a new site differs from the example. */
export interface SkeletonNames {
  readonly slug: string;
  readonly kind: SiteKind;
  /** Port of the service, for the kind `python`. */
  readonly port: number;
}

/** The parts of the example that a kind has. */
type Parts = "static" | "immutable" | "python";

/** Files of the example, by their path in it. */
export type SkeletonFiles = ReadonlyMap<string, string>;

interface ExampleSite {
  readonly $schema: string;
  readonly services: readonly { readonly lang: string; readonly environment: readonly object[] }[];
  readonly [key: string]: unknown;
}

const firstVersion = "0.1.0";

/** What a kind's site file has that the example's has not. */
const additionsToSiteFile: Readonly<Partial<Record<SiteKind, object>>> = {
  worker: {
    workers: [{ name: "worker", lang: "python-worker", handler: "worker", "run-cmd": "python work.py", count: 1 }],
  },
  chill: {
    services: [{ name: "pages", lang: "chill", handler: "pages", environment: [{ name: "freeze", value: "true" }] }],
  },
};

function partsOf(kind: SiteKind): Parts {
  return kind === "worker" || kind === "chill" ? "static" : kind;
}

/**
 * The folder of a new site, made of the example's: other names, and without the parts that its kind does not have.
 * @param additions files that this kind has and the example does not
 */
export function skeletonFiles(example: SkeletonFiles, names: SkeletonNames, additions: SkeletonFiles): SkeletonFiles {
  const made = new Map<string, string>();
  const parts = partsOf(names.kind);
  for (const [path, text] of example) {
    const target = targetPath(path, parts);
    if (target === undefined || (names.kind === "chill" && target === "root/index.html")) continue;
    const kept = withoutParts(path, text, parts);
    made.set(rename(target, names), rename(names.kind === "chill" ? withFrozenPages(path, kept) : kept, names));
  }
  for (const [path, text] of additions) made.set(rename(path, names), rename(text, names));
  made.set("VERSION", `${firstVersion}\n`);
  return made;
}

/** The site file of a new site, made of the example's. */
export function skeletonSiteFile(example: string, names: SkeletonNames): string {
  const { services, env, ...rest } = JSON.parse(rename(example, names)) as ExampleSite;
  const kept = services.filter(({ lang }) => {
    return lang === "python" ? names.kind === "python" : partsOf(names.kind) !== "static";
  });
  const site = {
    ...rest,
    ...(names.kind === "python" ? { env: [{ name: "API_PORT", value: String(names.port) }] } : {}),
    ...(kept.length > 0 ? { services: kept } : {}),
    ...additionsToSiteFile[names.kind],
  };
  return `${printObject(site, "")}\n`;
}

/** What `_` stands for where a name may have no hyphen. */
function rename(text: string, { slug }: SkeletonNames): string {
  const word = slug.replaceAll("-", "_");
  const title = titleOf(slug);
  return text
    .replaceAll("hello_api", `${word}_api`)
    .replaceAll("HELLO_", `${word.toUpperCase()}_`)
    .replaceAll(/\bhello\b/g, slug)
    .replaceAll('"name": "Hello"', `"name": "${title}"`)
    .replaceAll("Hello from <span>chillbox</span>", `Hello from <span>${title}</span>`)
    .replaceAll("Hello from chillbox", `Hello from ${title}`);
}

/** @example titleOf("my-shop") === "My shop" */
function titleOf(slug: string): string {
  const words = slug.replaceAll("-", " ");
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Where a file of the example goes; `undefined`: the kind has no such part. */
function targetPath(path: string, kind: Parts): string | undefined {
  if (kind === "python") return path;
  // The script does nothing but ask the service.
  if (path.startsWith("api/") || path === "assets/hello.js") return undefined;
  if (kind === "immutable" || !path.startsWith("assets/")) return path;
  return path === "assets/Makefile" ? undefined : path.replace("assets/", "root/");
}

function withoutParts(path: string, text: string, kind: Parts): string {
  if (kind === "python") return text;
  if (path.endsWith(".nginx.conf.template")) {
    const withoutService = withoutLocation(text, "/api/");
    return kind === "static" ? withoutLocation(withoutService, "/immutable/") : withoutService;
  }
  if (!path.endsWith(".html")) return text;
  const page = withoutCard(text.replace(/ *<script [^>]*src="\/immutable\/[^>]*><\/script>\n/, ""), "A Python service");
  if (kind === "immutable") return page;
  return withoutCard(page, "An immutable bundle").replaceAll("/immutable/assets/@ASSETS_HASH@/", "/");
}

/** nginx looks among the pages that chill made first, then among the static files. */
function withFrozenPages(path: string, text: string): string {
  if (!path.endsWith(".nginx.conf.template")) return text;
  return text
    .replace(
      "    try_files $uri $uri/index.html =404;\n",
      () => "    root /usr/local/src/$SLUGNAME/pages/frozen;\n    try_files $uri $uri/index.html @static;\n",
    )
    .replace(/( {2}location \/ \{\n[\s\S]*?\n {2}\}\n)/, "$1\n  location @static {\n    try_files $uri =404;\n  }\n");
}

/** Takes a `location` out of an nginx configuration, with the comment above it. */
function withoutLocation(text: string, prefix: string): string {
  return text.replace(new RegExp(`(  #[^\\n]*\\n)*  location ${prefix} \\{\\n[\\s\\S]*?\\n  \\}\\n\\n?`), "");
}

function withoutCard(page: string, heading: string): string {
  return page.replace(new RegExp(` *<li>\\s*<h2>${heading}</h2>[\\s\\S]*?</li>\\n`), "");
}

/** JSON as the project's formatter has it: on one line what fits. */
function print(value: unknown, indent: string, before: number): string {
  const line = onOneLine(value);
  if (indent.length + before + line.length + 1 <= 120 || typeof value !== "object" || value === null) return line;
  if (!Array.isArray(value)) return printObject(value, indent);
  const items = value.map((item) => `${indent}  ${print(item, `${indent}  `, 0)}`);
  return `[\n${items.join(",\n")}\n${indent}]`;
}

function printObject(value: object, indent: string): string {
  const items = Object.entries(value).map(([key, item]) => {
    return `${indent}  "${key}": ${print(item, `${indent}  `, key.length + 4)}`;
  });
  return `{\n${items.join(",\n")}\n${indent}}`;
}

function onOneLine(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(onOneLine).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const items = Object.entries(value).map(([key, item]) => `"${key}": ${onOneLine(item)}`);
  return items.length === 0 ? "{}" : `{ ${items.join(", ")} }`;
}
