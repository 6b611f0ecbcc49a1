import { isAlias, isMap, isScalar, isSeq, LineCounter, type ParsedNode, parseDocument, visit } from "yaml";

/** Keys and indexes that lead to a value, from the top. */
export type JsonPath = readonly (string | number)[];

/** Line and column in a text, both from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Where the values of a JSON text stand. */
export interface JsonSource {
  /**
   * Position of a value, or of its key when that is meant. For a path that is not there, that of the nearest value above it.
   */
  readonly locate: (path: JsonPath, atKey?: boolean) => Position;
  /** Keys that an object has twice: the path, and where the second one stands. */
  readonly duplicates: readonly { readonly path: JsonPath; readonly at: Position }[];
}

/**
 * Finds where each value of a JSON text stands. JSON is a part of YAML, so the YAML parser knows.
 * @param text JSON that `JSON.parse` accepts
 */
export function readJsonSource(text: string): JsonSource {
  const { lines, contents } = parse(text);
  const values = new Map<string, number>();
  const keys = new Map<string, number>();
  const duplicates: { path: JsonPath; at: Position }[] = [];
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  note(contents, []);
  return { duplicates, locate };

  function locate(path: JsonPath, atKey = false): Position {
    const own = (atKey ? keys : values).get(nameOf(path));
    if (own !== undefined) return at(own);
    return path.length === 0 ? { line: 1, column: 1 } : locate(path.slice(0, -1));
  }

  function note(node: ParsedNode | null, path: JsonPath): void {
    if (node === null) return;
    values.set(nameOf(path), node.range[0]);
    if (isSeq(node)) for (const [index, item] of node.items.entries()) note(item as ParsedNode, [...path, index]);
    if (!isMap(node)) return;
    for (const { key, value } of node.items) {
      const offset = (key as ParsedNode).range[0];
      const inner = [...path, isScalar(key) ? String(key.value) : ""];
      if (keys.has(nameOf(inner))) duplicates.push({ path: inner, at: at(offset) });
      keys.set(nameOf(inner), offset);
      note(value as ParsedNode, inner);
    }
  }
}

/**
 * Where a text stops being JSON.
 * @param message what `JSON.parse` threw: it tells the position of some mistakes
 */
export function locateSyntaxError(text: string, message: string): Position {
  const told = /at position (\d+)/.exec(message)?.[1];
  const { lines, contents, errorAt } = parse(text);
  const offset =
    told !== undefined
      ? Number(told)
      : /end of JSON/.test(message)
        ? text.trimEnd().length
        : Math.min(firstForeignScalar(contents), errorAt);
  const { line, col } = lines.linePos(Number.isFinite(offset) ? offset : 0);
  return { line: Math.max(line, 1), column: Math.max(col, 1) };
}

function parse(text: string) {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: false, prettyErrors: false });
  return { lines, contents: document.contents, errorAt: document.errors[0]?.pos[0] ?? Number.POSITIVE_INFINITY };
}

/** The first word that YAML has and JSON has not, such as one without quotation marks. */
function firstForeignScalar(contents: ParsedNode | null): number {
  let found = Number.POSITIVE_INFINITY;
  visit(contents, (_, node) => {
    if (isAlias(node) && node.range) found = Math.min(found, node.range[0]);
    if (!isScalar(node) || !node.range || node.type === "QUOTE_DOUBLE") return;
    if (!isJson(node.source ?? "")) found = Math.min(found, node.range[0]);
  });
  return found;
}

function isJson(text: string): boolean {
  return /^(true|false|null|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/.test(text);
}

function nameOf(path: JsonPath): string {
  return JSON.stringify(path);
}
