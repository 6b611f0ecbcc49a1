/** Something in the text of a rewrite, a fallback or an error page that nginx fills in. */
const variable = /\$(?:([1-9])|\{?(\w+)\}?)/g;
/** nginx has taken `.` and `..` out of these. */
const normal = ["uri", "document_uri"];

/**
 * Why a path inside a site's root may lead out of it, or undefined. nginx takes `.` and `..` out of what visitors ask for, and of
 * nothing else: `rewrite ^ /../../x break` reads `/srv/x`.
 * @param endsAtQuestionMark whether what follows a "?" is a query
 * @param pattern regular expression whose captures are `$1` to `$9`; without it they may come from anywhere
 */
export function leadsOut(path: string, endsAtQuestionMark: boolean, pattern?: string): string | undefined {
  if (/\.\.|%2e/i.test(path)) return `${path} has ".." in it, which leads out of the root`;
  const withoutQuery = endsAtQuestionMark
    ? path.replace(/\?.*$/s, "").replace(/\$(?:is_args|\{is_args\})\$(?:args|query_string|\{args\})$/, "")
    : path;
  if (withoutQuery.replace(variable, "").includes("..")) return `${path} can become one with ".." in it`;
  const captures = pattern === undefined ? [] : readCaptures(pattern);
  for (const { 0: whole, 1: number, 2: name, index } of withoutQuery.matchAll(variable)) {
    if (name !== undefined && normal.includes(name)) continue;
    const kind = number === undefined ? "any" : (captures[Number(number) - 1] ?? "any");
    if (kind === "dotless" || kind === "whole path") continue;
    if (kind === "whole segments" && withoutQuery[index - 1] === "/") continue;
    return `${whole} can be a text with ".." in it, which leads out of the root`;
  }
  return undefined;
}

type Capture = "dotless" | "whole path" | "whole segments" | "any";

const dotless =
  /^(?:\\[dw]|\[(?!\^)(?:\\[dw]|[A-Za-z0-9_/-])+\]|\[\^[^[\]\\]*\.[^[\]\\]*\]|[A-Za-z0-9_/|-]|[+*?]|\{\d+(?:,\d*)?\})*$/;

/** What each capture of a regular expression can hold when it's matched with a path of which nginx took `..` out. */
function readCaptures(pattern: string): Capture[] {
  // Named groups, references and conditions are not looked into.
  if (/\(\?(?!:)|\(\*|\\[1-9QEgkKGCRXNpP]/.test(pattern.replace(/^\(\?i\)/, ""))) return [];
  const captures: Capture[] = [];
  const open: { number: number; start: number }[] = [];
  for (let position = 0; position < pattern.length; position += 1) {
    const letter = pattern[position];
    if (letter === "\\") position += 1;
    else if (letter === "[") {
      const end = /^\[\^?\]?(?:[^\]\\[]|\\.)*\]/.exec(pattern.slice(position));
      if (!end) return [];
      position += end[0].length - 1;
    } else if (letter === "(") {
      const counts = pattern[position + 1] !== "?";
      open.push({ number: counts ? captures.push("any") : 0, start: position });
    } else if (letter === ")") {
      const group = open.pop();
      if (!group) return [];
      if (group.number > 0) captures[group.number - 1] = classify(pattern, group.start, position);
    }
  }
  return captures;
}

function classify(pattern: string, start: number, end: number): Capture {
  const before = pattern.slice(0, start);
  const inside = pattern.slice(start + 1, end);
  const after = pattern.slice(end + 1);
  // A quantifier or "..." right behind a group repeats it: still made of the same characters.
  if (dotless.test(inside) && !inside.includes("--")) return "dotless";
  if (!/^(?:$|\$$|\/\??\$$|\/(?![?*{]))/.test(after)) return "any";
  if (before === "^" && /^\/?(?:\.[*+]\??)$/.test(inside)) return "whole path";
  if (before.endsWith("/") && /^(?:\.|\[\^\/\])[*+]\??$/.test(inside)) return "whole segments";
  return "any";
}
