import { Argument, InvalidArgumentError, Option } from "commander";

/** `--stack`, for every command that talks to a server. */
export function stackOption(): Option {
  return new Option("--stack <name>", "the stack whose server is meant").default("local");
}

const readSlug = matching(/^[a-z][a-z0-9-]{0,30}$/, "give a site's slug, such as hello");

/** The argument SLUG. What is checked here needs no quotes on the server. */
export function slugArgument(): Argument {
  return new Argument("<slug>", "the site").argParser(readSlug);
}

/** Slugs, each once. */
export function slugsArgument(name = "<slugs...>", description = "the sites"): Argument {
  return new Argument(name, description).argParser((text: string, before: string[] = []) => [
    ...new Set([...before, readSlug(text)]),
  ]);
}

/** A parser that refuses what does not match. */
export function matching(pattern: RegExp, advice: string): (text: string) => string {
  return (text) => {
    if (!pattern.test(text)) throw new InvalidArgumentError(advice);
    return text;
  };
}

/** A parser of whole numbers from 1 on. */
export function readCount(text: string): number {
  if (!/^[1-9][0-9]{0,6}$/.test(text)) throw new InvalidArgumentError("give a number from 1 on");
  return Number(text);
}
