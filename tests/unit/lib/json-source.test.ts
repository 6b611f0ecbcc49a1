import assert from "node:assert/strict";
import { test } from "node:test";
import { locateSyntaxError, readJsonSource } from "../../../lib/json-source.ts";

const text = '{\n\t"a": [1, {"b\\/": "\\ud83d\\ude00"}],\n  "c": {\n    "d": null }, "a": 2\n}\n';

test("values and keys are found by line and column", () => {
  const { locate } = readJsonSource(text);
  assert.deepEqual(locate([]), { line: 1, column: 1 });
  assert.deepEqual(locate(["a", 1, "b/"], true), { line: 2, column: 12 });
  assert.deepEqual(locate(["a", 1, "b/"]), { line: 2, column: 19 });
  assert.deepEqual(locate(["c", "d"]), { line: 4, column: 10 });
});

test("what is not there stands where it would be", () => {
  const { locate } = readJsonSource(text);
  assert.deepEqual(locate(["c", "e", "f"], true), { line: 3, column: 8 });
});

test("a key that is there twice is told", () => {
  assert.deepEqual(readJsonSource(text).duplicates, [{ path: ["a"], at: { line: 4, column: 18 } }]);
  assert.deepEqual(readJsonSource('{"a": {"b": 1}, "c": {"b": 1}}').duplicates, []);
});

const broken: [text: string, line: number, column: number][] = [
  ["", 1, 1],
  ['{\n  "a": 1,\n}', 3, 1],
  ['{"a": x}', 1, 7],
  ['{\n"a": "1"\n"b": 2 }', 3, 1],
  ['{"a": 1', 1, 8],
  ["{\n'a': 1}", 2, 1],
  ['{"a": [true, tru]}', 1, 14],
  ['{"a": 1}\n}', 2, 1],
  ['{"a": "x\ny"}', 1, 9],
  ['// first\n{"a": 1}', 1, 1],
];
for (const [wrong, line, column] of broken) {
  test(`${JSON.stringify(wrong)} stops being JSON at ${line}:${column}`, () => {
    assert.throws(
      () => JSON.parse(wrong),
      (error: Error) => {
        assert.deepEqual(locateSyntaxError(wrong, error.message), { line, column });
        return true;
      },
    );
  });
}
