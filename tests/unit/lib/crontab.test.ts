import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { crontabProblems, renderCrontab } from "../../../lib/crontab.ts";

const cases = JSON.parse(readFileSync(join(import.meta.dirname, "crontab-lines.json"), "utf8")) as {
  good: [line: string, time: string, due: boolean][];
  bad: [line: string, words: string][];
  quiet: string[];
};
const none = new Map<string, string>();

test("lines that can be run pass", () => {
  for (const [line] of cases.good) assert.deepEqual(crontabProblems([line]), [], line);
  assert.deepEqual(renderCrontab(cases.quiet, none, "x"), cases.quiet);
});

test("each bad line names itself and the field", () => {
  for (const [line, words] of cases.bad) {
    const [problem] = crontabProblems(["* * * * * true", line]);
    assert.deepEqual(problem?.path, ["crontab", 1], line);
    assert.match(problem?.what ?? "", new RegExp(words), line);
    assert.throws(() => renderCrontab([line], none, "x.site.json"), { message: /^x.site.json: "crontab\[0\]" / }, line);
  }
});

test("variables are replaced, what they make of a field is checked, and the shell keeps its own", () => {
  const variables = new Map([
    ["MINUTE", "61"],
    ["FILE", "/tmp/x"],
  ]);
  assert.deepEqual(crontabProblems(["$MINUTE * * * * true"]), []);
  assert.throws(
    () => renderCrontab(["$MINUTE * * * * true"], variables, "x"),
    /"crontab\[0\]" has "61" for the minute/,
  );
  assert.deepEqual(renderCrontab(["* * * * * echo $HOME $" + "{FILE} $$"], variables, "x"), [
    "* * * * * echo $HOME /tmp/x $$",
  ]);
});

test("the server takes the same lines, and runs them when they are due", () => {
  const scripts = resolve(import.meta.dirname, "../../../server-scripts/manifest");
  const program = `
import datetime, json, sys
sys.path.insert(0, ${JSON.stringify(scripts)}); sys.dont_write_bytecode = True
from checks import Wrong
from crontab import parse
def ask(line):
    try: return parse("crontab[0]", line)
    except Wrong as error: return str(error)
cases = json.load(sys.stdin)
answers = []
for line, time, _ in cases["good"]:
    found = ask(line)
    if isinstance(found, str):
        answers.append(found)
        continue
    (minutes, hours, days, months, weekdays), either, _ = found
    t = datetime.datetime.fromisoformat(time.replace("Z", "+00:00"))
    day, weekday = t.day in days, t.isoweekday() % 7 in weekdays
    answers.append(t.minute in minutes and t.hour in hours and t.month in months and (day or weekday if either else day and weekday))
print(json.dumps([answers, [ask(line) for line, _ in cases["bad"]], [ask(line) for line in cases["quiet"]]]))
`;
  const said = execFileSync("python3", ["-c", program], { input: JSON.stringify(cases), encoding: "utf8" });
  const [good, bad, quiet] = JSON.parse(said) as unknown[][] as [unknown[], unknown[], unknown[]];
  assert.deepEqual(
    quiet,
    cases.quiet.map(() => null),
  );
  assert.deepEqual(
    cases.good.map(([line, time], index) => [line, time, good[index]]),
    cases.good,
  );
  for (const [index, [line, words]] of cases.bad.entries()) {
    assert.match(String(bad[index]), new RegExp(`^crontab\\[0\\].*(${words})`), line);
  }
});
