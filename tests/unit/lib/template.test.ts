// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders are what is tested
import assert from "node:assert/strict";
import { test } from "node:test";
import { renderTemplate, resolveVariables, substitute } from "../../../lib/template.ts";
import { UserError } from "../../../lib/user-error.ts";

const resolved = (raw: Record<string, string>) =>
  Object.fromEntries(resolveVariables(Object.entries(raw), "x.site.json"));

test("values may refer to others, in any order and depth", () => {
  assert.deepEqual(resolved({ A: "$B/$" + "{C}", B: "b-$C", C: "c" }), { A: "b-c/c", B: "b-c", C: "c" });
});

test("NAME__chillbox gives NAME its value", () => {
  const variables = resolved({ API_HOST: "localhost", API_HOST__chillbox: "127.0.0.1", URL: "http://$API_HOST" });
  assert.equal(variables.API_HOST, "127.0.0.1");
  assert.equal(variables.URL, "http://127.0.0.1");
});

test("a circle is refused with the names in it", () => {
  const circle = () => resolved({ A: "$B", B: "$C", C: "$B" });
  assert.throws(
    circle,
    new UserError(
      "x.site.json: variables refer to each other in a circle: B -> C -> B. Give one of them a plain value.",
    ),
  );
});

test("only known names are replaced", () => {
  const variables = new Map([
    ["PORT", "8001"],
    ["P", "no"],
  ]);
  const table: [string, string][] = [
    ["proxy_pass http://$host:$PORT$request_uri;", "proxy_pass http://$host:8001$request_uri;"],
    ["${PORT}1", "80011"],
    ["$PORT1 $1 $ $$", "$PORT1 $1 $ $$"],
    ["$proxy_add_x_forwarded_for ${P}", "$proxy_add_x_forwarded_for no"],
  ];
  for (const [text, expected] of table) assert.equal(substitute(text, variables), expected);
});

test("a value with a dollar sign is taken as it is", () => {
  assert.equal(
    substitute(
      "$A",
      new Map([
        ["A", "$& $1 $B"],
        ["B", "x"],
      ]),
    ),
    "$& $1 $B",
  );
});

test("a ${NAME} that is left over names file and line", () => {
  const template = "listen 80;\nserver_name $HOST ${SERVER};\nset $x ${OTHER};\n";
  assert.throws(
    () => renderTemplate(template, new Map(), "hello.conf"),
    (error: Error) => {
      assert.ok(error instanceof UserError);
      assert.match(
        error.message,
        /hello\.conf:2: \$\{SERVER\} is not defined\nhello\.conf:3: \$\{OTHER\} is not defined\n/,
      );
      return true;
    },
  );
});
