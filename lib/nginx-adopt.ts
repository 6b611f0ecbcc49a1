import { isOwnName, isOwnVariable, renameCaptures, tables, variablePrefix, variablesSetBy } from "./nginx-names.ts";
import { type Directive, everyDirective, parseNginx, type Word } from "./nginx-syntax.ts";

/** What a site's names are made of. */
export interface Adopter {
  readonly slug: string;
  /** Every name that the site answers to, in lower case. */
  readonly domains: readonly string[];
}

/** A piece of the text and what it becomes. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** Names as they stand in the template, in lower case, and what they become. */
interface NewNames {
  /** With their "$". */
  readonly variables: ReadonlyMap<string, string>;
  readonly upstreams: ReadonlyMap<string, string>;
  readonly zones: ReadonlyMap<string, string>;
}

/** Sizes of nginx's tables, which chillbox sets for all sites: templates have them so that long names fit. */
const tableSizes = /^(?:map|variables|server_names)_hash_(?:bucket|max)_size$/;

/**
 * Makes a template fit a server that it shares with other sites, where that changes nothing for the site itself. Templates that were
 * written for a server of their own have names such as `$connection_upgrade`, which would be one for all sites; `server_name .NAME`,
 * which takes every subdomain; and a `listen 80` beside the included file that has its own.
 *
 * The lines stay where they are. What comes out is checked like any other template (`checkNginx`).
 * @param text rendered; its syntax has been checked
 */
export function adoptNginx(text: string, adopter: Adopter): string {
  const directives = parseNginx(text);
  const edits = [...rename(directives, text, adopter.slug), ...adoptServers(directives, text, adopter)];
  for (const directive of directives) {
    if (tableSizes.test(directive.name.text)) edits.push(removal(directive, text));
  }
  let adopted = text;
  // From the end, so that the places before stay right.
  for (const edit of edits.sort((a, b) => b.start - a.start)) {
    adopted = adopted.slice(0, edit.start) + edit.text + adopted.slice(edit.end);
  }
  return adopted;
}

/** Takes a directive out and leaves its lines. */
function removal({ name, end }: Directive, text: string): Edit {
  return { start: name.start, end, text: text.slice(name.start, end).replace(/[^\n]/g, "") };
}

// Names that all sites share

function rename(directives: readonly Directive[], text: string, slug: string): Edit[] {
  const names = newNames(directives, slug);
  const edits: Edit[] = [];
  for (const directive of directives) {
    renameWords(directive, tables.has(directive.name.text));
  }
  return edits;

  function renameWords(directive: Directive, isTable: boolean): void {
    for (const word of directive.words)
      edit(word, (raw) => renameReferences(renameVariables(raw, names), directive, names));
    for (const entry of directive.block ?? []) {
      // The left side of a table is not a directive; a regular expression in it can have groups.
      if (isTable) edit(entry.name, (raw) => renameGroups(raw, names));
      renameWords(entry, isTable);
    }
    if (directive.name.text === "upstream") {
      for (const zone of (directive.block ?? []).filter(({ name }) => name.text === "zone")) {
        const word = zone.words[0];
        if (word) edit(word, (raw) => names.zones.get(raw) ?? raw);
      }
    }
  }

  function edit({ start, end }: Word, change: (raw: string) => string): void {
    const raw = text.slice(start, end);
    const changed = change(raw);
    if (changed !== raw) edits.push({ start, end, text: changed });
  }
}

function newNames(directives: readonly Directive[], slug: string): NewNames {
  const variables = new Set<string>();
  const upstreams = new Set<string>();
  const zones = new Set<string>();
  for (const directive of everyDirective(directives)) {
    const { name, words } = directive;
    for (const variable of variablesSetBy(directive)) variables.add(variable);
    if (name.text === "upstream") upstreams.add(words[0]?.text ?? "");
    if (name.text === "zone") zones.add(words[0]?.text ?? "");
    if (/^limit_(?:req|conn)_zone$/.test(name.text)) {
      for (const { text } of words) zones.add(/^zone=([^:]*):/.exec(text)?.[1] ?? "");
    }
  }
  return {
    variables: ownNamesFor(variables, (name) => isOwnVariable(name, slug), `${variablePrefix(slug)}`),
    upstreams: ownNamesFor(upstreams, (name) => isOwnName(name, slug), `${slug}_`),
    zones: ownNamesFor(zones, (name) => isOwnName(name, slug), `${slug}_`),
  };
}

/** Leaves out what needs no other name, and what would get one that is there already: that is refused later. */
function ownNamesFor(
  found: ReadonlySet<string>,
  isOwn: (name: string) => boolean,
  prefix: string,
): Map<string, string> {
  const made = new Map<string, string>();
  const taken = new Set([...found].map((name) => name.toLowerCase()));
  for (const name of found) {
    const better = prefix + name.replace(/^\$/, "").toLowerCase();
    if (!isOwn(name) && isOwn(better) && !taken.has(better)) made.set(name.toLowerCase(), better);
  }
  return made;
}

/** nginx knows variables by their name in any case. */
function renameVariables(raw: string, names: NewNames): string {
  const renamed = raw.replace(/\$(\{?)(\w+)/g, (whole, brace: string, name: string) => {
    const better = names.variables.get(`$${name.toLowerCase()}`);
    return better ? `$${brace}${better.slice(1)}` : whole;
  });
  return renameGroups(renamed, names);
}

function renameGroups(raw: string, { variables }: NewNames): string {
  return renameCaptures(raw, (variable) => variables.get(variable.toLowerCase()) ?? variable);
}

/** Where upstreams and zones are named. */
function renameReferences(raw: string, { name, words }: Directive, { upstreams, zones }: NewNames): string {
  switch (name.text) {
    case "upstream":
      return upstreams.get(raw.toLowerCase()) ?? raw;
    case "proxy_pass":
    case "proxy_redirect":
      return raw.replace(/^(["']?https?:\/\/)([A-Za-z0-9._-]+)(?=$|[/"'$])/, (whole, scheme: string, host: string) => {
        const better = upstreams.get(host.toLowerCase());
        return better ? scheme + better : whole;
      });
    case "limit_conn":
      return raw === words[0]?.text ? (zones.get(raw.toLowerCase()) ?? raw) : raw;
    case "limit_req":
    case "limit_req_zone":
    case "limit_conn_zone":
      return raw.replace(/^zone=([^:]*)/, (whole, zone: string) => {
        const better = zones.get(zone.toLowerCase());
        return better ? `zone=${better}` : whole;
      });
    default:
      return raw;
  }
}

// Servers

function adoptServers(directives: readonly Directive[], text: string, { slug, domains }: Adopter): Edit[] {
  const servers = directives.filter(({ name }) => name.text === "server").map(({ block }) => block ?? []);
  const exact = new Set(
    servers.flatMap((block) =>
      named(block, "server_name").flatMap(({ words }) => words.map((word) => word.text.toLowerCase())),
    ),
  );
  return servers.flatMap((block) => [
    ...named(block, "server_name").flatMap(({ words }) => words.flatMap((word) => expandName(word, domains, exact))),
    ...neglectedListens(block, slug).map((directive) => removal(directive, text)),
  ]);
}

function named(block: readonly Directive[], name: string): Directive[] {
  return block.filter((directive) => directive.name.text === name);
}

/** `.NAME` is NAME and all below it, `*.NAME` all below it: those of them that the site has and names nowhere else. */
function expandName({ text, start, end }: Word, domains: readonly string[], exact: ReadonlySet<string>): Edit[] {
  const [, star, name] = /^(\*?)\.([A-Za-z0-9.-]+)$/.exec(text) ?? [];
  // A wildcard of the site's own means all that are.
  if (name === undefined || domains.includes(text.toLowerCase())) return [];
  const meant = domains.filter((domain) => {
    return domain.endsWith(`.${name.toLowerCase()}`) || (star === "" && domain === name.toLowerCase());
  });
  const rest = [...new Set(meant)].filter((domain) => !exact.has(domain));
  return rest.length === 0 ? [] : [{ start, end, text: rest.join(" ") }];
}

/** Listens of port 80 that another one makes needless: the included file has its own. */
function neglectedListens(block: readonly Directive[], slug: string): Directive[] {
  const included = named(block, "include").some(
    ({ words }) => words[0]?.text === `/etc/nginx/conf.d/${slug}.ssl_cert.include`,
  );
  const listens = named(block, "listen").filter(({ words }) => words.length === 1);
  const plain = listens.filter(({ words }) => words[0]?.text === "80");
  const wide = listens.filter(({ words }) => words[0]?.text === "[::]:80");
  if (included) return [...plain, ...wide];
  return plain.length > 0 ? wide : [];
}
