import type { Directive } from "./nginx-syntax.ts";

/**
 * Names in nginx's configuration that all sites share, because they share one nginx: variables, upstreams and zones. A site's own begin
 * with its slug.
 */

/** First words of nginx's own variables and zones: a slug like these could take one over. */
const takenSlugs = new Set(
  `ancient arg args binary body bytes cache connection connections content cookie date document fastcgi geoip gzip host hostname
  http http2 http3 https invalid is limit memcached modern msec msie nginx pid pipe proxy query quic realip realpath remote request
  scheme secure sent server session slice ssl status tcpinfo time uid upstream uri`.split(/\s+/),
);

const takenSlugHint =
  "has a name that all sites share, and the slug begins like names of nginx's own. Take it out, or name the site file otherwise";

/** Directives whose block is a table, and whose last word is a variable. */
export const tables: ReadonlySet<string> = new Set(["map", "geo", "split_clients"]);

/** Name of a group in a regular expression, which nginx makes a variable of: in front of it and itself. */
const namedGroup = /(\(\?P?<|\(\?')([A-Za-z_]\w*)(?=[>'])/g;

/** The slug, alone or with more behind "_", which no slug has. */
export function isOwnName(name: string, slug: string): boolean {
  return !takenSlugs.has(slug) && (name === slug || (name.startsWith(`${slug}_`) && /^[a-z0-9_-]+$/.test(name)));
}

/** Why the name of an upstream or zone is refused, and the way out. */
export function ownNameHint(name: string | undefined, slug: string): string {
  if (takenSlugs.has(slug)) return takenSlugHint;
  return `has the name "${name}", which all sites share. Call it ${slug}_something`;
}

/** Hyphens of the slug are doubled underscores, so that "a-b" and "a" never have the same. */
export function isOwnVariable(name: string, slug: string): boolean {
  const prefix = variablePrefix(slug);
  return (
    !takenSlugs.has(slug.split("-")[0] ?? "") &&
    name.startsWith(prefix) &&
    /^[a-z0-9][a-z0-9_]*$/i.test(name.slice(prefix.length))
  );
}

/** Why a variable is refused, and the way out. */
export function ownVariableHint(name: string | undefined, slug: string): string {
  if (takenSlugs.has(slug.split("-")[0] ?? "")) return takenSlugHint;
  return `sets the variable ${name}, which all sites share. Call it ${variablePrefix(slug)}something`;
}

/** What a site's variables begin with, "$" included. */
export function variablePrefix(slug: string): string {
  return `$${slug.replaceAll("-", "__")}_`;
}

/** Whether a variable, with its "$", is one that nginx sets by itself; no site's begins like these. */
export function isNginxVariable(name: string): boolean {
  return /^\$\d$/.test(name) || takenSlugs.has(name.slice(1).toLowerCase().split("_")[0] ?? "");
}

/** Variables that the named groups of a regular expression set: `$user` for `^/u/(?<user>[a-z]+)`. */
function namedCaptures(text: string): string[] {
  return [...text.matchAll(namedGroup)].map(([, , name]) => `$${name}`);
}

/** Variables that a directive sets for all sites; `set` alone sets one for its own server. */
export function variablesSetBy({ name, words, block }: Directive): string[] {
  const found = [name, ...words].flatMap(({ text }) => namedCaptures(text));
  if (tables.has(name.text) && block) found.push(words.at(-1)?.text ?? "");
  if (name.text === "auth_request_set") found.push(words[0]?.text ?? "");
  return found;
}

/** Gives named groups other names. */
export function renameCaptures(text: string, rename: (variable: string) => string): string {
  return text.replace(namedGroup, (_, before: string, name: string) => `${before}${rename(`$${name}`).slice(1)}`);
}
