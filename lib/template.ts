import { UserError } from "./user-error.ts";

/** Names and values that replace `$NAME` and `${NAME}`. */
export type Variables = ReadonlyMap<string, string>;

const reference = /\$\{([A-Za-z_][A-Za-z0-9_]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)/g;
const overrideEnding = "__chillbox";

/**
 * Settles variables that may refer to each other, such as `{URL: "http://$HOST", HOST__chillbox: "127.0.0.1"}`.
 * `NAME__chillbox` gives `NAME` its value (both names are then known). Names that nobody defines stay as they are in values:
 * they may be nginx's own.
 * @param where what an error names: a file, and the key in it
 * @throws UserError when values refer to each other in a circle
 */
export function resolveVariables(raw: Iterable<readonly [string, string]>, where: string): Variables {
  const given = withOverrides(new Map(raw));
  const done = new Map<string, string>();
  for (const name of given.keys()) resolve(name, []);
  return done;

  function resolve(name: string, path: readonly string[]): string {
    const known = done.get(name);
    if (known !== undefined) return known;
    if (path.includes(name)) {
      const circle = [...path.slice(path.indexOf(name)), name].join(" -> ");
      throw new UserError(
        `${where}: variables refer to each other in a circle: ${circle}. Give one of them a plain value.`,
      );
    }
    const value = replaceKnown(given.get(name) ?? "", (other) =>
      given.has(other) ? resolve(other, [...path, name]) : undefined,
    );
    done.set(name, value);
    return value;
  }
}

/** Replaces the names that are known and leaves all others. */
export function substitute(text: string, variables: Variables): string {
  return replaceKnown(text, (name) => variables.get(name));
}

/**
 * Renders a template. Known names are replaced; `$host`, `$uri` and the like survive.
 * @param file named in the error
 * @throws UserError for a `${NAME}` that is not known, with its line
 */
export function renderTemplate(template: string, variables: Variables, file: string): string {
  const problems: string[] = [];
  const rendered = template.split("\n").map((line, index) =>
    replaceKnown(line, (name, braced) => {
      const value = variables.get(name);
      if (value === undefined && braced) problems.push(`${file}:${index + 1}: \${${name}} is not defined`);
      return value;
    }),
  );
  if (problems.length > 0) {
    throw new UserError(
      `${problems.join("\n")}\nDefine it under "env" in the site file, or write $name for a variable of nginx's own.`,
    );
  }
  return rendered.join("\n");
}

function withOverrides(raw: Map<string, string>): Map<string, string> {
  const given = new Map(raw);
  for (const [name, value] of raw) {
    if (name.endsWith(overrideEnding)) given.set(name.slice(0, -overrideEnding.length), value);
  }
  return given;
}

function replaceKnown(text: string, lookUp: (name: string, braced: boolean) => string | undefined): string {
  return text.replaceAll(reference, (whole, braced: string | undefined, plain: string | undefined) => {
    return lookUp(braced ?? plain ?? "", braced !== undefined) ?? whole;
  });
}
