import { isNginxVariable, isOwnVariable, ownVariableHint, tables, variablesSetBy } from "./nginx-names.ts";
import { type Directive, everyDirective } from "./nginx-syntax.ts";

type Refuse = (directive: Directive, why: string) => void;

const reference = /\$(?:\{(\w+)\}|(\w+))/g;

/**
 * Refuses variables that reach other sites. A named group of a regular expression, and `auth_request_set`, take a variable over for all of
 * nginx, its own (`$args`, `$http_upgrade`) included. And whoever says `$shop_token` reads what the site "shop" keeps in a map, or stops
 * working when that site is removed.
 */
export function checkVariables(directives: readonly Directive[], slug: string, refuse: Refuse): void {
  const known = new Set<string>();
  for (const directive of everyDirective(directives)) {
    // Tables are looked at where they may stand, in the check of directives.
    for (const variable of tables.has(directive.name.text) ? [] : variablesSetBy(directive)) {
      if (!isOwnVariable(variable, slug)) refuse(directive, ownVariableHint(variable, slug));
    }
    for (const variable of variablesSetBy(directive)) known.add(variable.toLowerCase());
    if (directive.name.text === "set") known.add(directive.words[0]?.text.toLowerCase() ?? "");
  }
  for (const directive of everyDirective(directives)) {
    for (const [, braced, plain] of directive.words.flatMap(({ text }) => [...text.matchAll(reference)])) {
      const variable = `$${braced ?? plain}`;
      if (isNginxVariable(variable) || known.has(variable.toLowerCase())) continue;
      refuse(
        directive,
        `has the variable ${variable}, which nothing sets here. Define it under "env", or set it in the template`,
      );
    }
  }
}
