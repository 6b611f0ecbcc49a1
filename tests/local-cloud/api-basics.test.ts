import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { parse } from "yaml";
import { type JsonObject, requestSchemas, trim } from "../../local-cloud/api/trim-openapi.ts";
import { TestApi, token } from "./api/support.ts";

const apiFolder = join(import.meta.dirname, "../../local-cloud/api");
const openapi = parse(readFileSync(join(apiFolder, "openapi.yaml"), "utf8")) as JsonObject;

test("the schemas of requests are those of the OpenAPI file, loosened", () => {
  const schemas = JSON.parse(readFileSync(join(apiFolder, "request-schemas.json"), "utf8"));
  assert.deepEqual(trim(openapi), openapi);
  assert.deepEqual(schemas, requestSchemas(openapi));
});

test("every operation of the OpenAPI file is there", async (t) => {
  const api = await TestApi.start(t);
  const paths = openapi.paths as Record<string, JsonObject>;
  for (const [template, methods] of Object.entries(paths)) {
    const path = template.replaceAll(/\{[^}]+\}/g, "1");
    for (const method of Object.keys(methods)) {
      const response = await fetch(api.url + path, {
        method: method.toUpperCase(),
        headers: { authorization: `Bearer ${token}` },
      });
      assert.notEqual(response.status, 501, `${method} ${path}`);
    }
  }
});

test("an account, regions and sizes", async (t) => {
  const api = await TestApi.start(t);
  const { account } = await api.ok("GET", "/v2/account");
  assert.equal(account.status, "active");
  const { regions } = await api.ok("GET", "/v2/regions?per_page=200");
  const { sizes } = await api.ok("GET", "/v2/sizes?per_page=200");
  assert.ok(regions.some((region: { slug: string }) => region.slug === "nyc3"));
  assert.equal(sizes[0].slug, "s-1vcpu-512mb-10gb");
  assert.equal(sizes[0].memory, 512);
  assert.equal(sizes[0].disk, 10);
});

test("without the right token every path answers 401", async (t) => {
  const api = await TestApi.start(t);
  const tries: Record<string, string>[] = [
    {},
    { authorization: "" },
    { authorization: "Bearer" },
    { authorization: `Bearer ${token}x` },
    { authorization: `Bearer ${token.slice(0, -1)}` },
    { authorization: `Basic ${token}` },
    { authorization: `Bearer ${token} ${token}` },
  ];
  for (const headers of tries) {
    for (const path of ["/v2/account", "/v2/volumes", "/nothing"]) {
      const response = await fetch(api.url + path, { headers });
      const body = (await response.json()) as Record<string, string>;
      assert.equal(response.status, 401, JSON.stringify(headers));
      assert.equal(body.id, "unauthorized");
      assert.equal(body.message, "Unable to authenticate you.");
      assert.equal(body.request_id, response.headers.get("x-request-id"));
    }
  }
});

test("every answer tells how many requests are left", async (t) => {
  const api = await TestApi.start(t);
  for (const path of ["/v2/account", "/v2/volumes", "/nothing", "/v2/droplets/1"]) {
    const { headers } = await api.call("GET", path);
    assert.equal(headers.get("ratelimit-limit"), "5000");
    assert.ok(Number(headers.get("ratelimit-remaining")) < 5000);
    assert.ok(Number(headers.get("ratelimit-reset")) > Date.now() / 1000);
    assert.match(headers.get("x-request-id") ?? "", /^[0-9a-f-]{36}$/);
  }
});

test("a limit that is enforced answers 429 and says when to come back", async (t) => {
  const api = await TestApi.start(t, { limits: { hour: 100, minute: 3 } });
  for (let count = 0; count < 3; count += 1) await api.ok("GET", "/v2/account");
  const { headers } = await api.call("GET", "/v2/account");
  await api.refused(429, /API Rate limit exceeded/, "GET", "/v2/account");
  assert.ok(Number(headers.get("retry-after")) > 0);
  assert.equal(headers.get("ratelimit-remaining"), "0");
});

test("what is missing answers 501 under /v2 and 404 elsewhere", async (t) => {
  const api = await TestApi.start(t);
  for (const [method, path] of [
    ["GET", "/v2/volumes"],
    ["POST", "/v2/load_balancers"],
    ["DELETE", "/v2/droplets?tag_name=web"],
    ["PUT", "/v2/account"],
    ["GET", "/v2"],
    ["GET", "/v2/kubernetes/clusters/x/kubeconfig"],
  ] as const) {
    const { status, body } = await api.call(method, path, method === "GET" ? undefined : {});
    assert.equal(status, 501, `${method} ${path}`);
    assert.equal(body.id, "not_implemented");
  }
  await api.refused(404, /could not be found/, "GET", "/v1/account");
  await api.refused(404, /could not be found/, "GET", "/");
});

test("lists come in pages with the links that make sense", async (t) => {
  const api = await TestApi.start(t);
  for (let index = 1; index <= 45; index += 1) await api.ok("POST", "/v2/tags", { name: `tag-${index}` });

  const first = await api.ok("GET", "/v2/tags");
  assert.equal(first.tags.length, 20);
  assert.equal(first.meta.total, 45);
  assert.deepEqual(first.links.pages, {
    next: `${api.url}/v2/tags?page=2&per_page=20`,
    last: `${api.url}/v2/tags?page=3&per_page=20`,
  });
  const second = await api.ok("GET", "/v2/tags?page=2&per_page=20");
  assert.deepEqual(Object.keys(second.links.pages).sort(), ["first", "last", "next", "prev"]);
  const last = await api.ok("GET", "/v2/tags?page=3&per_page=20");
  assert.equal(last.tags.length, 5);
  assert.deepEqual(last.links.pages, {
    first: `${api.url}/v2/tags?page=1&per_page=20`,
    prev: `${api.url}/v2/tags?page=2&per_page=20`,
  });
  const all = await api.ok("GET", "/v2/tags?page=1&per_page=200");
  assert.equal(all.tags.length, 45);
  assert.deepEqual(all.links, {});
  const behind = await api.ok("GET", "/v2/tags?page=9&per_page=20");
  assert.deepEqual(behind.tags, []);
});

test("per_page is held to 200, and nonsense is refused", async (t) => {
  const api = await TestApi.start(t);
  for (let index = 1; index <= 201; index += 1) {
    await api.store.change(() => api.store.tags.put({ id: `t${index}`, name: `t${index}` }));
  }
  assert.equal((await api.ok("GET", "/v2/tags?per_page=100000")).tags.length, 200);
  for (const query of ["per_page=0", "per_page=-1", "per_page=x", "page=0", "page=1.5", "page=1e9"]) {
    await api.refused(400, /number from 1 on/, "GET", `/v2/tags?${query}`);
  }
});
