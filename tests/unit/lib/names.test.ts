import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bucketHost,
  bucketNames,
  closest,
  domainPattern,
  objectUrl,
  providerEndpoint,
  regionEndpoint,
  resourceName,
  slugOfSiteFile,
} from "../../../lib/names.ts";

test("a slug is the site file's name without .site.json", () => {
  assert.equal(slugOfSiteFile("hello-2.site.json"), "hello-2");
});

for (const name of [
  "Hello.site.json",
  "2hello.site.json",
  ".site.json",
  "a_b.site.json",
  `${"a".repeat(32)}.site.json`,
  "hello.json",
]) {
  test(`${name} is refused`, () => {
    assert.throws(() => slugOfSiteFile(name), { name: "UserError", message: /the site's slug/ });
  });
}

test("resource names keep to the letters that all resources allow", () => {
  const table: [string, string, string][] = [
    ["chillbox", "local", "chillbox-local"],
    ["chillbox", "My_Stack.1", "chillbox-my-stack-1"],
    ["chillbox", "x".repeat(60), `chillbox-${"x".repeat(31)}`],
    ["chillbox", `${"x".repeat(30)}-yyy`, `chillbox-${"x".repeat(30)}`],
  ];
  for (const [project, stack, name] of table) assert.equal(resourceName(project, stack), name);
  const longest = bucketNames("x".repeat(40), "01234567").immutable;
  assert.ok(longest.length <= 63, longest);
});

test("endpoints, hosts and addresses of objects", () => {
  const local = regionEndpoint("http://{region}.spaces.test/", "nyc3");
  assert.equal(local, "http://nyc3.spaces.test");
  assert.equal(
    providerEndpoint("https://{region}.digitaloceanspaces.com/"),
    "https://{{.Region}}.digitaloceanspaces.com",
  );
  assert.equal(bucketHost("b", "http://nyc3.spaces.test:8080"), "b.nyc3.spaces.test:8080");
  assert.equal(objectUrl("b", "a b/c+d.qcow2.gz", local), "http://b.nyc3.spaces.test/a%20b/c%2Bd.qcow2.gz");
});

test("domains", () => {
  for (const good of ["a.b", "www.example.com", "xn--bcher-kva.example"]) assert.match(good, domainPattern);
  for (const bad of ["localhost", "a..b", "-a.b", "a-.b", "A.b", "a.b.", "a b.c", `${"a".repeat(64)}.b`]) {
    assert.doesNotMatch(bad, domainPattern);
  }
});

test("the closest word is suggested, a far one is not", () => {
  const words = ["serverName", "serverGeneration", "size", "region"];
  assert.equal(closest("sererName", words), "serverName");
  assert.equal(closest("servername", words), "serverName");
  assert.equal(closest("regoin", words), "region");
  assert.equal(closest("dropletCount", words), undefined);
});
