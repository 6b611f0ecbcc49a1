import { plainDirectives, refusal, upstreamDirectives } from "./nginx-directives.ts";
import { isOwnName, isOwnVariable, ownNameHint, ownVariableHint } from "./nginx-names.ts";
import { leadsOut } from "./nginx-paths.ts";
import { type Directive, NginxSyntaxError, parseNginx, type Word } from "./nginx-syntax.ts";
import { checkVariables } from "./nginx-variables.ts";
import { UserError } from "./user-error.ts";

/** What is a site's own: all that its nginx configuration may name. */
export interface OwnThings {
  readonly slug: string;
  /** Every name that the site answers to. */
  readonly domains: readonly string[];
  /** Ports of its services on 127.0.0.1. */
  readonly ports: readonly number[];
  /** Hosts of the buckets, with a port if they have one. */
  readonly bucketHosts: readonly string[];
}

/** Where a directive stands. */
interface Place {
  readonly own: OwnThings;
  readonly kind: "server" | "location";
  /** Modifier and path of the location around it, such as `["^~", "/static/"]`. */
  readonly location?: readonly [string, string];
  readonly upstreams: ReadonlySet<string>;
  /** Told what is wrong, and the way out. */
  readonly refuse: (directive: Directive, why: string) => void;
}

type Rule = (words: readonly string[], place: Place) => string | undefined;

const shownProblems = 20;
const acmePath = "/.well-known/acme-challenge";
const mimeTypes = "/etc/nginx/mime.types";
/**
 * Refuses a site's nginx configuration that names anything but the site's own: nginx is one process for all sites, and its
 * configuration can read and write files, reach ports and take over names. Everything that isn't known to be harmless is refused.
 * @param text rendered, with the lines of the template
 * @param file what an error calls the template
 * @throws UserError with line, directive, reason and way out of each problem
 */
export function checkNginx(text: string, own: OwnThings, file: string): void {
  const problems: string[] = [];
  const refuse = ({ name, line }: Directive, why: string) => problems.push(`${file}:${line}: "${name.text}" ${why}.`);
  const directives = parse(text, file);
  checkVariables(directives, own.slug, refuse);
  checkAll(directives, own, refuse);
  if (problems.length === 0) return;
  const shown = problems.slice(0, shownProblems);
  if (problems.length > shown.length) shown.push(`... and ${problems.length - shown.length} more.`);
  throw new UserError(shown.join("\n"));
}

/** Stands for a value in a text: characters for private use, which nobody writes. */
export const valueMark = (index: number): string => `\u{e000}${index}\u{e001}`;

/**
 * Refuses values of variables that nginx would not read as they are: that end a directive, begin another, or have a backslash for it.
 * @param marked the same text with marks in the place of values
 * @param values by their marks
 * @throws UserError with the line
 */
export function checkValues(rendered: string, marked: string, values: ReadonlyMap<string, string>, file: string): void {
  const fill = ({ text }: Word) => text.replace(/\u{e000}\d+\u{e001}/gu, (mark) => values.get(mark) ?? mark);
  compare(parse(marked, file), parse(rendered, file));

  function compare(wanted: readonly Directive[], found: readonly Directive[]): void {
    for (const [index, directive] of wanted.entries()) {
      const other = found[index];
      const words = [directive.name, ...directive.words].map(fill);
      if (other?.line !== directive.line || !isSame(words, [other.name.text, ...textOf(other)])) refuse(directive.line);
      compare(directive.block ?? [], other.block ?? []);
    }
    if (found.length > wanted.length) refuse(found[wanted.length]?.line ?? 1);
  }

  function refuse(line: number): never {
    throw new UserError(
      `${file}:${line}: the value of a variable ends a directive, begins another, or has a backslash or quote that nginx takes for itself. ` +
        'Keep line breaks, ";", "{", "}", "#", quotes and backslashes out of values of "env", or put the variable in quotes in the template.',
    );
  }
}

/** Outside quotes, a value with blanks may be several words, such as names of a server. */
function isSame(wanted: readonly string[], found: readonly string[]): boolean {
  if (wanted.length === found.length && wanted.every((word, index) => word === found[index])) return true;
  return wanted.length !== found.length && wanted.join(" ").trim().split(/\s+/).join(" ") === found.join(" ");
}

function parse(text: string, file: string): readonly Directive[] {
  try {
    return parseNginx(text);
  } catch (error) {
    if (!(error instanceof NginxSyntaxError)) throw error;
    throw new UserError(`${file}:${error.line}: ${error.message}. Mend it: what cannot be read surely is not sent.`);
  }
}

function checkAll(directives: readonly Directive[], own: OwnThings, refuse: Place["refuse"]): void {
  const upstreams = new Set(
    directives.filter(({ name }) => name.text === "upstream").map(({ words }) => (words[0]?.text ?? "").toLowerCase()),
  );
  const server: Place = { own, kind: "server", upstreams, refuse };
  for (const directive of directives) {
    const words = textOf(directive);
    if (!isPlainName(directive, refuse)) continue;
    switch (directive.name.text) {
      case "server":
        if (words.length > 0) refuse(directive, 'takes nothing before its "{"');
        checkServer(directive, server);
        break;
      case "upstream":
        if (!isOwnName(words[0] ?? "", own.slug)) refuse(directive, ownNameHint(words[0], own.slug));
        checkUpstream(directive, own, refuse);
        break;
      case "map":
      case "geo":
      case "split_clients":
        if (!isOwnVariable(words.at(-1) ?? "", own.slug)) refuse(directive, ownVariableHint(words.at(-1), own.slug));
        checkTable(directive, refuse);
        break;
      case "limit_req_zone":
      case "limit_conn_zone":
        refuseIf(directive, zoneProblem(words, own), refuse);
        break;
      default:
        refuse(
          directive,
          isKnown(directive.name.text)
            ? "stands outside a server block, where it holds for every site. Move it into the server block"
            : refusal(directive.name.text),
        );
    }
  }
}

function refuseIf(directive: Directive, why: string | undefined, refuse: Place["refuse"]): void {
  if (why !== undefined) refuse(directive, why);
}

function textOf({ words }: Directive): string[] {
  return words.map(({ text }) => text);
}

function isPlainName(directive: Directive, refuse: Place["refuse"]): boolean {
  const { text, disguised } = directive.name;
  if (!disguised && /^[a-z][a-z0-9_]*$/.test(text)) return true;
  refuse(directive, "is not a name of a directive. Write names without quotes, backslashes and variables");
  return false;
}

function isKnown(name: string): boolean {
  return plainDirectives.has(name) || rules.has(name) || name in blocks;
}

// Names that all sites share

function zoneProblem(words: readonly string[], own: OwnThings): string | undefined {
  const zones = words.filter((word) => word.startsWith("zone="));
  const [, name, size] = /^zone=([^:]*):(\d{1,5}k|\d{1,2}m)$/.exec(zones[0] ?? "") ?? [];
  if (zones.length !== 1 || name === undefined || size === undefined) return "needs one zone=NAME:SIZE, such as 1m";
  return isOwnName(name, own.slug) ? sizeProblem(size) : ownNameHint(name, own.slug);
}

function sizeProblem(size: string): string | undefined {
  return size.endsWith("m") && Number(size.slice(0, -1)) > 16
    ? "wants more than 16m of memory. Give it less"
    : undefined;
}

/** Tables of words; `include` in them would read files of the server. */
function checkTable(directive: Directive, refuse: Place["refuse"], allowed: readonly string[] = []): void {
  if (directive.block === undefined) refuse(directive, 'needs a block: "{" and "}"');
  for (const entry of directive.block ?? []) {
    if (entry.block !== undefined) refuse(entry, "has a block where there can be none");
    if (entry.name.text === "include" && !(entry.words.length === 1 && allowed.includes(entry.words[0]?.text ?? ""))) {
      refuse(entry, "reads a file of the server. Write its content here");
    }
  }
}

function checkUpstream(directive: Directive, own: OwnThings, refuse: Place["refuse"]): void {
  if (directive.words.length !== 1 || directive.block === undefined) refuse(directive, "needs one name and a block");
  for (const entry of directive.block ?? []) {
    const words = textOf(entry);
    if (!isPlainName(entry, refuse)) continue;
    if (entry.block !== undefined) refuse(entry, "has a block where there can be none");
    if (entry.name.text === "server") {
      if (!isOwnAuthority(words[0] ?? "", own)) refuse(entry, authorityHint(words[0] ?? "", own));
      const odd = words
        .slice(1)
        .find((word) => !/^(?:(?:weight|max_fails|fail_timeout|max_conns)=\w+|backup|down)$/.test(word));
      if (odd !== undefined) refuse(entry, `has "${odd}", which an upstream of a site cannot have. Take it out`);
    } else if (entry.name.text === "zone") {
      refuseIf(entry, zoneProblem([`zone=${words[0]}:${words[1] ?? "1m"}`], own), refuse);
    } else if (!upstreamDirectives.has(entry.name.text)) {
      refuse(entry, refusal(entry.name.text));
    }
  }
}

// Servers and what is in them

function checkServer(directive: Directive, place: Place): void {
  const names = (directive.block ?? []).map(({ name }) => name.text);
  if (directive.block === undefined) place.refuse(directive, 'needs a block: "{" and "}"');
  if (!names.includes("server_name")) {
    place.refuse(
      directive,
      `has no server_name, so that it would answer for others. Add server_name ${place.own.domains[0]}`,
    );
  }
  if (!names.includes("include") && !names.includes("listen")) {
    place.refuse(directive, `does not say where it listens. Add include ${certificatePath(place.own)}`);
  }
  if (names.includes("include") && names.includes("listen")) {
    place.refuse(directive, "listens twice: the included file has its own listen. Take the listen here out");
  }
  checkBlock(directive, place);
}

const blocks: Record<string, (directive: Directive, place: Place) => void> = {
  location(directive, place) {
    const words = textOf(directive);
    const [first = "", second] = words;
    const glued = /^(=|\^~|~\*|~|@)(.*)$/s.exec(first);
    const location =
      second === undefined ? ([glued?.[1] ?? "", glued?.[2] ?? first] as const) : ([first, second] as const);
    if (words.length < 1 || words.length > 2) place.refuse(directive, "takes a modifier and a path");
    checkBlock(directive, { ...place, kind: "location", location });
  },
  if(directive, place) {
    refuseIf(directive, conditionProblem(textOf(directive), place), place.refuse);
    checkBlock(directive, { ...place, kind: "location" });
  },
  limit_except(directive, place) {
    checkBlock(directive, { ...place, kind: "location" });
  },
  types(directive, place) {
    checkTable(directive, place.refuse, [mimeTypes]);
  },
};

function checkBlock(directive: Directive, place: Place): void {
  if (directive.block === undefined) place.refuse(directive, 'needs a block: "{" and "}"');
  for (const entry of directive.block ?? []) {
    if (!isPlainName(entry, place.refuse)) continue;
    const name = entry.name.text;
    if (Object.hasOwn(blocks, name)) {
      blocks[name]?.(entry, place);
      continue;
    }
    const rule = rules.get(name);
    if (rule === undefined && !plainDirectives.has(name)) place.refuse(entry, refusal(name));
    else if (entry.block !== undefined) place.refuse(entry, 'has a block. Is a ";" missing?');
    else refuseIf(entry, rule?.(textOf(entry), place), place.refuse);
  }
}

const rules = new Map<string, Rule>(
  Object.entries({
    include: ([path, ...rest], { own, kind }) =>
      rest.length === 0 && ((path === certificatePath(own) && kind === "server") || path === mimeTypes)
        ? undefined
        : `reads a file of the server. Only ${certificatePath(own)} may be included, in a server block`,
    listen: (words) =>
      words.length === 1 && words[0] === "80"
        ? undefined
        : "is chillbox's: the site's ssl_cert.include has it. Take it out, or write listen 80 where that is not included",
    server_name: (words, { own }) => {
      const foreign = words.find((word) => !own.domains.includes(word.toLowerCase()));
      if (words.length > 0 && foreign === undefined) return undefined;
      return `has ${JSON.stringify(foreign ?? "")}, which is not in the site's domain_list. Add it there or take it out here`;
    },
    root: (words, place) =>
      isChallengeRoot(words[0] ?? "", place.location) && words.length === 1 ? undefined : filesProblem(words, place),
    alias: (words, place) => filesProblem(words, place) ?? aliasProblem(words[0] ?? "", place),
    auth_basic_user_file: ([path = ""], { own }) => (isOwnFile(path, own) ? undefined : filesHint(path, own)),
    access_log: (words, place) => {
      if (words.length === 1 && words[0] === "off") return undefined;
      const format = words
        .slice(1)
        .find((word) => !/^(?:combined|buffer=\w+|flush=\w+|gzip(?:=\d)?|if=.*)$/s.test(word));
      return logProblem(words, place) ?? (format && `has "${format}", which is no format of this server. Use combined`);
    },
    error_log: (words, place) => logProblem(words, place),
    proxy_pass: ([target = "", ...rest], place) =>
      rest.length === 0 ? targetProblem(target, place) : "takes one address",
    proxy_cache: (words) =>
      words.length === 1 && ["var_cache_nginx", "off"].includes(words[0] ?? "")
        ? undefined
        : "names a zone that is not the site's. Use proxy_cache var_cache_nginx",
    proxy_ssl_trusted_certificate: (words) =>
      words[0] === "/etc/ssl/certs/ca-certificates.crt" ? undefined : "may only be /etc/ssl/certs/ca-certificates.crt",
    limit_req: zoneOfOwn,
    limit_conn: (words, place) => zoneOfOwn([`zone=${words[0]}`], place),
    auth_request: ([path = ""]) => (path === "off" ? undefined : localProblem(path)),
    auth_request_set: ([variable = ""], { own }) =>
      isOwnVariable(variable, own.slug) ? undefined : ownVariableHint(variable, own.slug),
    mirror: ([path = ""]) => (path === "off" ? undefined : localProblem(path)),
    index: (words) => words.map((word) => localProblem(word.replace(/^(?!\/)/, "/"))).find(Boolean),
    try_files: (words) =>
      words.map((word, index) => insideProblem(word, index === words.length - 1 && !/^[=@]/.test(word))).find(Boolean),
    error_page: (words) => insideProblem(words.at(-1) ?? "", true, /^(?:https?:\/\/|\$scheme:\/\/)/),
    rewrite: ([pattern = "", target = "", flag]) =>
      flag === "redirect" || flag === "permanent"
        ? undefined
        : insideProblem(target, true, /^(?:https?:\/\/|\$scheme)/, pattern),
  } satisfies Record<string, Rule>),
);

function certificatePath({ slug }: OwnThings): string {
  return `/etc/nginx/conf.d/${slug}.ssl_cert.include`;
}

function zoneOfOwn(words: readonly string[], { own }: Place): string | undefined {
  const zones = words.filter((word) => word.startsWith("zone=")).map((word) => word.slice(5));
  return zones.length === 1 && isOwnName(zones[0] ?? "", own.slug) ? undefined : ownNameHint(zones[0], own.slug);
}

// Files

function isPlainPath(path: string): boolean {
  return /^(?:\/(?!\.\.?(?:\/|$))[A-Za-z0-9._@+~-]+)+\/?$/.test(path);
}

function isOwnFile(path: string, { slug }: OwnThings): boolean {
  // In /srv/SLUG is nothing but "root".
  if (path === `/srv/${slug}` || path === `/srv/${slug}/`) return true;
  const places = new RegExp(`^/(?:srv/${slug}/root|usr/local/src/${slug}/[A-Za-z][A-Za-z0-9_-]*/frozen)(?:/|$)`);
  return isPlainPath(path) && places.test(path);
}

function filesHint(path: string | undefined, { slug }: OwnThings): string {
  return (
    `is ${JSON.stringify(path ?? "")}, which is not the site's. Write a path without variables under /srv/${slug}/root or ` +
    `/usr/local/src/${slug}/SERVICE/frozen`
  );
}

function filesProblem(words: readonly string[], { own, location }: Place): string | undefined {
  const [path = "", ...rest] = words;
  if (rest.length === 0 && isOwnFile(path, own)) return undefined;
  const isChallenge =
    /^\/srv\/chillbox\/\.well-known\/acme-challenge\/?$/.test(path) && isBelow(location, `${acmePath}/`);
  return isChallenge ? undefined : filesHint(path, own);
}

/** Below this root lie the certificate challenges, and what chillbox's own host serves. */
function isChallengeRoot(path: string, location: Place["location"]): boolean {
  return /^\/srv\/chillbox\/?$/.test(path) && isBelow(location, "/.well-known/");
}

function isBelow(location: Place["location"], folder: string): boolean {
  const [modifier = "~", prefix = ""] = location ?? [];
  return ["", "=", "^~"].includes(modifier) && `${prefix}/`.startsWith(folder);
}

/** `location /a { alias /b/; }` serves `/b/../x` for `/a../x`. */
function aliasProblem(path: string, { location }: Place): string | undefined {
  const [modifier = "", prefix = ""] = location ?? [];
  if (!path.endsWith("/") || prefix.endsWith("/") || !["", "^~"].includes(modifier)) return undefined;
  return `leads out of ${path} for ${prefix}../ . End the location's path with "/"`;
}

function logProblem([path = ""]: readonly string[], { own }: Place): string | undefined {
  const folder = `/var/log/nginx/${own.slug}/`;
  if (
    path === "/dev/null" ||
    (isPlainPath(path) && path.startsWith(folder) && /^[^/]+$/.test(path.slice(folder.length)))
  ) {
    return undefined;
  }
  return `is ${JSON.stringify(path)}, which is not the site's. Write a file in ${folder} without variables, or /dev/null`;
}

/** A test for a file tells whether it is there. */
function conditionProblem(words: readonly string[], { own }: Place): string | undefined {
  if (!/^\(?\s*!?-[fdex]/.test(words.join(" ").replace(/^\(\s+/, "("))) return undefined;
  const path = words
    .join(" ")
    .replace(/^\(\s*!?-[fdex]\s*/, "")
    .replace(/\s*\)$/, "");
  if (path === "$request_filename" || isOwnFile(path, own)) return undefined;
  if (/^\$document_root(?=[/$])/.test(path) && !insideProblem(path.replace("$document_root", ""), false))
    return undefined;
  return `asks for ${path}, which may not be the site's. Ask for $request_filename or $document_root$uri`;
}

function localProblem(path: string): string | undefined {
  return isPlainPath(path) || path === "/"
    ? undefined
    : `is ${JSON.stringify(path)}. Write a path of the site without variables and ".."`;
}

/** A path that nginx looks up below the root, unless it is a code, a named location or an address to send visitors to. */
function insideProblem(
  text: string,
  endsAtQuestionMark: boolean,
  redirect?: RegExp,
  pattern?: string,
): string | undefined {
  if (/^(?:=\d{3}|@[A-Za-z0-9_-]+)$/.test(text) || redirect?.test(text)) return undefined;
  if (!/^[/$]/.test(text)) return `has ${JSON.stringify(text)}, which is not a path of the site: it begins with "/"`;
  const why = leadsOut(text, endsAtQuestionMark, pattern);
  if (why === undefined) return undefined;
  const way =
    pattern === undefined
      ? "Use $uri"
      : 'Capture whole parts of the path, as in ^/old/(.*)$ /new/$1, or characters without ".", as in ([a-z0-9-]+), or add "permanent"';
  return `is refused because ${why}. ${way}`;
}

// Addresses

function isOwnAuthority(authority: string, { ports, bucketHosts }: OwnThings): boolean {
  const lower = authority.toLowerCase();
  if (ports.some((port) => lower === `127.0.0.1:${port}` || lower === `localhost:${port}`)) return true;
  return bucketHosts.some(
    (host) => lower === host || (!host.includes(":") && [`${host}:80`, `${host}:443`].includes(lower)),
  );
}

function authorityHint(authority: string, { ports, bucketHosts }: OwnThings): string {
  const own = [...ports.map((port) => `127.0.0.1:${port}`), ...bucketHosts];
  return `goes to ${JSON.stringify(authority)}, which is not the site's. Its own are ${own.join(", ")}`;
}

function targetProblem(target: string, { own, upstreams }: Place): string | undefined {
  // Both variables begin with "/", or with "?" for a visitor who asks for no path.
  const [, authority] =
    /^https?:\/\/([A-Za-z0-9._:-]+)(?:\/.*|\$(?:request_uri|uri)|\$\{(?:request_uri|uri)\})?$/s.exec(target) ?? [];
  if (authority === undefined) {
    return `is ${JSON.stringify(target)}. Write http://HOST:PORT or https://HOST, with variables only behind the "/" that follows, or $request_uri`;
  }
  if (upstreams.has(authority.toLowerCase()) && isOwnName(authority.toLowerCase(), own.slug)) return undefined;
  return isOwnAuthority(authority, own) ? undefined : authorityHint(authority, own);
}
