import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { checkSiteFiles } from "../../../lib/site-check.ts";
import { commandsDigest, commandsOf } from "../../../lib/site-commands.ts";
import { problemLine } from "../../../lib/site-problems.ts";
import { temporaryFolder } from "./temporary-folder.ts";

const folder = await temporaryFolder();
await mkdir(join(folder, "shop"));
const lines = [
  "{",
  '  "name": "Shop",',
  '  "server_name": "shop.test",',
  '  "release": "./shop",',
  '  "contact": { "owner": "o@shop.test", "technical": "t@shop.test" },',
  '  "domain_list": ["shop.test"],',
  '  "services": [{ "name": "api", "lang": "python", "handler": "api", "environment": [] }]',
  "}",
];

/** A site file with one part of its text replaced. */
async function write(from = "", to = "", name = "shop.site.json"): Promise<string> {
  const text = lines.join("\n");
  assert.ok(text.includes(from));
  await writeFile(join(folder, name), text.replace(from, to));
  return join(folder, name);
}

async function check(...files: string[]): Promise<string[]> {
  const checked = await checkSiteFiles(files);
  return checked.flatMap(({ problems }) =>
    problems.map((each) => `${each.line}:${each.column} ${each.severity} ${problemLine(each)}`),
  );
}

test("a good file has no problem", async () => {
  assert.deepEqual(await check(await write()), []);
});

const mistakes: [what: string, from: string, to: string, problems: RegExp[]][] = [
  [
    "a mistyped key",
    '"server_name"',
    '"servername"',
    [
      /^1:1 error the file lacks "server_name"\. Rename "servername" to "server_name"\.$/,
      /^3:3 warning "servername" is not a key that chillbox knows; it has no effect\. Did you mean "server_name"\?$/,
    ],
  ],
  [
    "a missing key",
    '"owner": "o@shop.test", ',
    "",
    [/^5:14 error "contact" lacks "owner"\. Add it, such as "owner": ".+@/],
  ],
  ["a wrong type", '["shop.test"]', '"shop.test"', [/^6:18 error "domain_list" .* of type array\. Write it like \["/]],
  [
    "a mistyped word",
    '"python"',
    '"pyton"',
    [/^7:41 error "services\[0\]\.lang" is "pyton"; it should be one of .*\. Did you mean "python"\?$/],
  ],
  [
    "a domain in capitals",
    '["shop.test"]',
    '["shop.test", "Shop.test"]',
    [/^6:32 error "domain_list\[1\]" is "Shop\.test", which does not match .* Write it like "www\.example\.com"\.$/],
  ],
  ["a number out of bounds", '"handler"', '"workers": 13, "handler"', [/^7:62 error "services\[0\]\.workers" is 13/]],
  ["a key twice", '"name": "Shop"', '"name": "a", "name": "b"', [/^2:16 error "name" is there twice.* Take one/]],
  ["another domain", '["shop.test"]', '["www.shop.test"]', [/^3:18 error "server_name" .* Add it there\.$/]],
  ["no release", '"./shop"', '"./shopp"', [/^4:14 error "release" is "\.\/shopp", but there is no folder or file \//]],
  [
    "what a Redis is told",
    '  "services"',
    '  "redis": {"port": 1, "save": "1 1",\n  "LoadModule": "/x.so"},\n  "services"',
    [
      /^7:13 warning "redis\.port" is chillbox's own; it has no effect/,
      /^8:3 error "redis\.LoadModule" lets Redis read or run/,
    ],
  ],
  [
    "a line of the crontab",
    '  "services"',
    '  "crontab": ["@daily true",\n  "* 25 * * * true"],\n  "services"',
    [/^8:3 error "crontab\[1\]" has "25" for the hour\. Write numbers from 0 to 23\.$/],
  ],
  ["a lost comma", '"Shop",', '"Shop"', [/^3:3 error the file is not valid JSON: Expected ',' or '}'/]],
  ["a list instead of an object", lines.join("\n"), "[]", [/^1:1 error the file is \[\]; it should be of type object/]],
  ["nothing", lines.join("\n"), "null", [/^1:1 error the file is null; it should be of type object/]],
];
for (const [what, from, to, problems] of mistakes) {
  test(`${what} is told with line, column and the way out`, async () => {
    const found = await check(await write(from, to));
    assert.equal(found.length, problems.length, found.join("\n"));
    for (const [index, problem] of problems.entries()) assert.match(found[index] ?? "", problem);
  });
}

test("unknown keys alone are warnings, and a key of another program is left in peace", async () => {
  const found = await check(await write('"lang"', '"deployment_colour": 1, "lang"'));
  assert.equal(found.length, 1);
  assert.match(found[0] ?? "", /^7:33 warning "services\[0\]\.deployment_colour" .* Take it out, or leave it/);
});

test("a command that is not allowed yet is a warning, until it is", async () => {
  const env = [
    { name: "A", value: "a" },
    { name: "B", cmd: "date" },
  ];
  const file = await write('  "services"', `  "env": ${JSON.stringify(env)},\n  "services"`);
  assert.deepEqual(await check(file), [
    '7:48 warning "env[1].cmd" is a command that is not allowed to run yet. Allow it: npx chillbox site allow shop',
  ]);
  const allowed = { shop: commandsDigest(commandsOf(env)) };
  assert.deepEqual((await checkSiteFiles([file], allowed))[0]?.problems, []);
});

test("two files with one domain, a bad name and a file that is not there are told", async () => {
  const other = await write("", "", "other.site.json");
  const found = await check(await write(), other, await write("", "", "Bad.site.json"), join(folder, "no.site.json"));
  assert.match(found.join("\n"), /6:19 error "domain_list\[0\]" is "shop\.test", which .*shop\.site\.json has, too/);
  assert.match(found.join("\n"), /1:1 error the file has the name Bad\.site\.json.*Rename the file/);
  assert.match(found.join("\n"), /1:1 error the file does not exist/);
});
