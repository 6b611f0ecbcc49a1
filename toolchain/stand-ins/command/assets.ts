import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { archiveValue, assetValue, type Properties } from "../plugin/wire.ts";

/** Output `assets`: a path asset for every file under `dir` that `assetPaths` names; nothing without `assetPaths`. */
export function assetsOf(dir: string, inputs: Properties): Properties {
  const patterns = inputs.assetPaths as string[] | undefined;
  return patterns === undefined ? {} : { assets: globAssets(dir, patterns) };
}

/** Output `archive`: an archive of every file under `dir` that `archivePaths` names; nothing without `archivePaths`. */
export function archiveOf(dir: string, inputs: Properties): Properties {
  const patterns = inputs.archivePaths as string[] | undefined;
  return patterns === undefined ? {} : { archive: archiveValue({ assets: globAssets(dir, patterns) }) };
}

function globAssets(dir: string, patterns: readonly string[]): Properties {
  const rules = patterns.map((pattern) => ({
    keep: !pattern.startsWith("!"),
    match: globExpression(pattern.replace(/^!/, "")),
  }));
  const files = readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)))
    .sort();
  // The last rule that matches a file decides.
  const kept = files.filter((file) => rules.findLast(({ match }) => match.test(file))?.keep === true);
  return Object.fromEntries(kept.map((file) => [file, pathAsset(join(dir, file))]));
}

function pathAsset(path: string): Properties {
  return assetValue({ path, hash: createHash("sha256").update(readFileSync(path)).digest("hex") });
}

/** `*` stops at `/`, `**` does not; also `?`, `[abc]`, `[!abc]`, `{one,other}` and `\` before a character. */
export function globExpression(pattern: string): RegExp {
  let depth = 0;
  const source = pattern.replace(/\\(.)|\*\*|\[!?[^\]]*\]|[\s\S]/gu, (token, escaped?: string) => {
    if (escaped !== undefined) {
      return literal(escaped);
    }
    if (token.length > 1 && token.startsWith("[")) {
      return token.startsWith("[!") ? `[^${token.slice(2)}` : token;
    }
    if (token === "{" || token === "}") {
      depth += token === "{" ? 1 : -1;
      return token === "{" ? "(?:" : ")";
    }
    const meanings: Record<string, string> = { "**": ".*", "*": "[^/]*", "?": "[^/]" };
    return token === "," && depth > 0 ? "|" : (meanings[token] ?? literal(token));
  });
  return new RegExp(`^${source}$`, "u");
}

function literal(character: string): string {
  return character.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");
}
