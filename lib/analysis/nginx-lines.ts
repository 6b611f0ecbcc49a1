import { type Directive, NginxSyntaxError, parseNginx } from "../nginx-syntax.ts";

/** A line of a template that nginx takes and that is known to go wrong. */
export interface BadLine {
  /** Name of the rule. */
  readonly rule: string;
  readonly line: number;
  readonly what: string;
  readonly fix: string;
}

/** A directive and where it stands. */
interface Place {
  readonly directive: Directive;
  readonly words: readonly string[];
  /** The directives beside it, itself among them. */
  readonly beside: readonly Directive[];
  /** The blocks around it, the innermost first. */
  readonly around: readonly Directive[];
}

type Rule = (place: Place) => Pick<BadLine, "what" | "fix"> | undefined;

/** The decoded path: `%0d%0a` in an address is a line break in it, which begins another header. `$request_uri` stays as it was sent. */
const decodedPath = /\$\{?(?:uri|document_uri)\b/;

/**
 * What is looked for, after the checks of gixy and nginx's own list of pitfalls. What reaches other sites or leaves the site's folders
 * is no matter of taste: `lib/nginx-template.ts` refuses that.
 */
const rules: Readonly<Record<string, Rule>> = {
  "header-injection": ({ directive, words }) => {
    const isRedirect = directive.name.text === "return" && /^\d+$/.test(words[0] ?? "") && words.length > 1;
    const isMoved = directive.name.text === "rewrite" && ["redirect", "permanent"].includes(words[2] ?? "");
    const isHeader = ["add_header", "proxy_set_header"].includes(directive.name.text);
    if (!(isRedirect || isMoved || isHeader) || !words.slice(1).some((word) => decodedPath.test(word)))
      return undefined;
    return {
      what: `${directive.name.text} sends the decoded path: a visitor's %0d%0a in it begins a header of his own`,
      fix: "Write $request_uri instead of $uri.",
    };
  },
  "decoded-proxy-path": ({ directive, words: [target = ""] }) =>
    directive.name.text === "proxy_pass" && decodedPath.test(target)
      ? {
          what: "proxy_pass sends the decoded path: blanks and line breaks in it make another request of it",
          fix: "Write $request_uri, or leave the path out: nginx then sends what it got.",
        }
      : undefined,
  "lost-headers": ({ directive, beside, around: [, ...outer] }) => {
    const name = directive.name.text;
    if (name !== "add_header" && name !== "proxy_set_header") return undefined;
    if (beside.find((other) => other.name.text === name) !== directive) return undefined;
    const own = headersOf(beside, name);
    const inherited = outer.map(({ block = [] }) => headersOf(block, name)).find((headers) => headers.length > 0) ?? [];
    const lost = inherited.filter((header) => !own.includes(header));
    if (lost.length === 0) return undefined;
    return {
      what: `with ${name} here, those of the block around hold no more: ${lost.join(", ")}`,
      fix: "Repeat them in this block, or move this one out of it.",
    };
  },
  "if-in-location": ({ directive, around }) => {
    if (directive.name.text !== "if" || around[0]?.name.text !== "location") return undefined;
    const odd = (directive.block ?? []).find(({ name }) => !["return", "rewrite", "set", "break"].includes(name.text));
    if (odd === undefined) return undefined;
    return {
      what: `"if" in a location is a location of its own, in which ${odd.name.text} does not do what it looks like`,
      fix: "Keep return, rewrite and set in it alone; choose values by a map, and paths by a location.",
    };
  },
  "forged-host": ({ directive, words: [header = "", value = ""] }) =>
    directive.name.text === "proxy_set_header" && header.toLowerCase() === "host" && /^\$\{?http_host\b/.test(value)
      ? {
          what: "Host is handed on as the visitor wrote it, so that he chooses the address in links of the service",
          fix: "Write $host.",
        }
      : undefined,
  "forged-address": ({ directive, words: [header = "", value = ""] }) => {
    const fix = "Write $proxy_add_x_forwarded_for, or $remote_addr; trust the addresses of your own proxies alone.";
    if (directive.name.text === "set_real_ip_from" && /^(?:0\.0\.0\.0|::)\/0$/.test(header)) {
      return { what: "everybody may say from which address he comes", fix };
    }
    const isForwarded = directive.name.text === "proxy_set_header" && /^x-(?:forwarded-for|real-ip)$/i.test(header);
    if (!isForwarded || !/^\$\{?http_x_(?:forwarded_for|real_ip)\b/.test(value)) return undefined;
    return { what: `${header} is handed on as the visitor wrote it, and the service takes it for his address`, fix };
  },
  "any-origin": ({ directive, words: [header = "", value = ""] }) =>
    directive.name.text === "add_header" &&
    header.toLowerCase() === "access-control-allow-origin" &&
    /^\$\{?http_origin\b/.test(value)
      ? {
          what: "every other site may read the answers that a visitor gets, his session included",
          fix: "Choose the origins by a map, with the names in full.",
        }
      : undefined,
  "loose-origin": ({ directive, words }) => {
    const [name = "", operator = "", pattern = ""] = words
      .join(" ")
      .replace(/^\(\s*|\s*\)$/g, "")
      .split(/\s+/);
    if (directive.name.text !== "if" || !/^\$http_(?:origin|referer)$/.test(name) || !/^!?~\*?$/.test(operator)) {
      return undefined;
    }
    if (pattern.startsWith("^") && /(?:\$|\/)$/.test(pattern)) return undefined;
    return {
      what: `the pattern ${pattern} also fits names such as that with .evil.example behind it`,
      fix: 'Write the whole of it: ^https://(www\\.)?example\\.com$ for an origin, with "/" at the end for a referer.',
    };
  },
  "open-allow": ({ directive, beside, around }) => {
    if (directive.name.text !== "allow" || beside.find(({ name }) => name.text === "allow") !== directive)
      return undefined;
    const isClosed = [beside, ...around.slice(1).map(({ block = [] }) => block)].some((block) =>
      block.some(({ name, words }) => name.text === "deny" && words[0]?.text === "all"),
    );
    if (isClosed || directive.words[0]?.text === "all") return undefined;
    return { what: "allow keeps nobody out: who is not named comes in, too", fix: 'Add "deny all" below it.' };
  },
  "return-before-access": ({ directive, beside }) => {
    if (directive.name.text !== "return") return undefined;
    const guard = beside.find(
      ({ name, words }) =>
        name.text === "deny" || (["auth_basic", "auth_request"].includes(name.text) && words[0]?.text !== "off"),
    );
    if (guard === undefined) return undefined;
    return {
      what: `nginx does return before ${guard.name.text} is asked, which keeps nobody from it`,
      fix: "Serve a file by try_files instead, which is asked after.",
    };
  },
  "cached-cookies": ({ directive, words, around }) => {
    if (directive.name.text !== "proxy_ignore_headers" || !words.some((word) => word.toLowerCase() === "set-cookie")) {
      return undefined;
    }
    const everywhere = around.flatMap(({ block = [] }) => block);
    const hides = everywhere.some(
      ({ name, words: [header] }) => name.text === "proxy_hide_header" && header?.text.toLowerCase() === "set-cookie",
    );
    const caches = everywhere.some(({ name, words: [zone] }) => name.text === "proxy_cache" && zone?.text !== "off");
    if (hides || !caches) return undefined;
    return {
      what: "one visitor's cookie is kept in the cache and given to the next ones",
      fix: "Add proxy_hide_header Set-Cookie, or leave such answers out of the cache.",
    };
  },
  "second-content-type": ({ directive, words: [header = ""] }) =>
    directive.name.text === "add_header" && header.toLowerCase() === "content-type"
      ? { what: "add_header makes a second Content-Type beside the first", fix: "Write default_type, or types { }." }
      : undefined,
  "folder-lists": ({ directive, words: [value] }) =>
    directive.name.text === "autoindex" && value === "on"
      ? { what: "who asks for a folder gets a list of all that is in it", fix: "Take it out, unless that is meant." }
      : undefined,
  "told-version": ({ directive, words: [value] }) =>
    directive.name.text === "server_tokens" && value !== "off"
      ? { what: "nginx tells its version to everybody who looks for an old one", fix: "Take it out." }
      : undefined,
  "endless-body": ({ directive, words: [size] }) =>
    directive.name.text === "client_max_body_size" && /^0+[kmg]?$/i.test(size ?? "")
      ? { what: "a visitor may fill the disk by one upload", fix: "Write how much one may send, such as 50m." }
      : undefined,
  "odd-headers": ({ directive, words: [value] }) =>
    directive.name.text === "ignore_invalid_headers" && value === "off"
      ? {
          what: "headers with odd names reach the service, which may take them for others",
          fix: "Take it out.",
        }
      : undefined,
};

/**
 * Known-bad lines of a site's nginx template.
 * @param template before its variables are filled in, whose names are in upper case
 * @returns from top to bottom; none for what cannot be read, which another check refuses
 */
export function findBadLines(template: string): BadLine[] {
  const found: BadLine[] = [];
  try {
    look(parseNginx(template), []);
  } catch (error) {
    if (!(error instanceof NginxSyntaxError)) throw error;
  }
  return found.sort((a, b) => a.line - b.line);

  function look(block: readonly Directive[], around: readonly Directive[]): void {
    for (const directive of block) {
      const place = { directive, words: directive.words.map(({ text }) => text), beside: block, around };
      for (const [rule, isBad] of Object.entries(rules)) {
        const bad = isBad(place);
        if (bad) found.push({ rule, line: directive.line, ...bad });
      }
      if (directive.block) look(directive.block, [directive, ...around]);
    }
  }
}

/** Names of the headers that a block sets itself, in lower case. */
function headersOf(block: readonly Directive[], name: string): string[] {
  return block.filter((other) => other.name.text === name).map(({ words }) => words[0]?.text.toLowerCase() ?? "");
}
