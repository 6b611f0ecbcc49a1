/**
 * Keeps what Node makes of TypeScript files by stripping their types, so that a process that starts again need not load Node's stripper and do
 * it anew: a tenth of a second for each of the eight processes of an `up`. Loaded first of all: `node --import ./toolchain/stripped-types.mjs`.
 *
 * It lies in node_modules/.cache and holds one file for each TypeScript file, which tells what content it was made of. Where nothing can be
 * kept, or Node is too old, Node does as always.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import module from "node:module";
import { dirname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";

const repository = dirname(import.meta.dirname);
const kept = join(repository, "node_modules/.cache/stripped");
const mark = "\n//# stripped of types: ";

if (module.registerHooks && module.stripTypeScriptTypes) {
  module.registerHooks({
    load(url, context, next) {
      if (!url.startsWith("file:") || !url.endsWith(".ts")) return next(url, context);
      const name = relative(repository, fileURLToPath(url));
      if (name.startsWith("..") || name.startsWith("node_modules")) return next(url, context);
      return { format: "module", source: stripped(join(repository, name), name), shortCircuit: true };
    },
  });
}

function stripped(path, name) {
  const source = readFileSync(path, "utf8");
  const end = mark + createHash("sha256").update(process.version).update(source).digest("hex");
  const file = join(kept, name.replaceAll(sep, "+"));
  const text = readIfThere(file);
  if (text?.endsWith(end)) return text;
  const made = strip(source) + end;
  keep(file, made);
  return made;
}

/** Node says that this function is experimental, each time; that it strips by itself it does not say any more. */
function strip(source) {
  const { emitWarning } = process;
  process.emitWarning = () => undefined;
  try {
    return module.stripTypeScriptTypes(source);
  } finally {
    process.emitWarning = emitWarning;
  }
}

function keep(file, text) {
  try {
    mkdirSync(kept, { recursive: true });
    writeFileSync(`${file}.${process.pid}`, text);
    renameSync(`${file}.${process.pid}`, file);
  } catch {
    // It is made anew the next time.
  }
}

function readIfThere(file) {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}
