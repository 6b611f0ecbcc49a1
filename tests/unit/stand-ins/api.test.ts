import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { type Api, ApiError, createApi } from "../../../toolchain/stand-ins/digitalocean/api.ts";
import { readSettings } from "../../../toolchain/stand-ins/digitalocean/settings.ts";

interface Seen {
  readonly line: string;
  readonly authorization: string | undefined;
  readonly body: string;
  readonly at: number;
}

interface Planned {
  readonly status: number;
  readonly body?: string;
  readonly headers?: Record<string, string>;
}

/** A server that answers as planned, one answer a request; `hang up` closes the connection instead. */
async function serve(t: TestContext, answers: (Planned | "hang up")[]): Promise<{ url: string; seen: Seen[] }> {
  const seen: Seen[] = [];
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      const { method, url, headers } = request;
      seen.push({ line: `${method} ${url}`, authorization: headers.authorization, body, at: performance.now() });
      const answer = answers.shift() ?? { status: 500, body: "not planned" };
      if (answer === "hang up") {
        request.socket.destroy();
      } else {
        response.writeHead(answer.status, answer.headers).end(answer.body ?? "{}");
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function client(url: string, config: Record<string, unknown> = {}): Api {
  return createApi(readSettings({ apiEndpoint: url, token: "t0ken", httpRetryWaitMin: 0.01, ...config }, {}));
}

for (const status of [429, 500, 502, 503, 504]) {
  test(`a call answered with ${status} is tried again, POSTs too`, async (t) => {
    const { url, seen } = await serve(t, [{ status }, { status }, { status: 201, body: '{"vpc":{"id":"v"}}' }]);
    assert.deepEqual(await client(url).post("/v2/vpcs", { name: "n" }), { vpc: { id: "v" } });
    assert.deepEqual(
      seen.map(({ line, body }) => [line, body]),
      Array.from({ length: 3 }, () => ["POST /v2/vpcs", '{"name":"n"}']),
    );
    assert.equal(seen[0]?.authorization, "Bearer t0ken");
  });
}

for (const status of [400, 401, 404, 409, 422, 501]) {
  test(`a call answered with ${status} fails at once, with the service's words`, async (t) => {
    const body = JSON.stringify({ id: "some", message: "It cannot be.", request_id: "r-1" });
    const { url, seen } = await serve(t, [{ status, body }]);
    await assert.rejects(client(url).get("/v2/tags/x"), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, status);
      assert.equal(error.message, `GET ${url}/v2/tags/x: ${status} (request "r-1") It cannot be.`);
      return true;
    });
    assert.equal(seen.length, 1);
  });
}

test("it gives up after httpRetryMax more tries, four unless said otherwise", async (t) => {
  const { url, seen } = await serve(t, []);
  await assert.rejects(client(url).get("/v2/a"), /500 not planned/);
  assert.equal(seen.length, 5);
  await assert.rejects(client(url, { httpRetryMax: "0" }).get("/v2/b"), /500/);
  assert.equal(seen.length, 6);
});

test("Retry-After is obeyed, else each wait is twice the last", async (t) => {
  const { url, seen } = await serve(t, [
    { status: 429, headers: { "retry-after": "1" } },
    { status: 500 },
    { status: 500 },
    { status: 200 },
  ]);
  await client(url, { httpRetryWaitMin: 0.04 }).get("/v2/a");
  const waits = seen.slice(1).map(({ at }, index) => at - (seen[index]?.at ?? 0));
  assert.ok((waits[0] ?? 0) >= 990, `first wait ${waits[0]}`);
  assert.ok((waits[1] ?? 0) >= 75 && (waits[1] ?? 0) < 900, `second wait ${waits[1]}`);
  assert.ok((waits[2] ?? 0) >= 155, `third wait ${waits[2]}`);
});

test("a dropped connection is tried again; a dead server is named", async (t) => {
  const { url } = await serve(t, ["hang up", { status: 200, body: '{"a":1}' }]);
  assert.deepEqual(await client(url).get("/v2/a"), { a: 1 });
  await assert.rejects(
    client("http://127.0.0.1:1", { httpRetryMax: 1 }).get("/v2/a"),
    /GET http:\/\/127\.0\.0\.1:1\/v2\/a: .*ECONNREFUSED.*is the local cloud running\?/,
  );
});

test("an answer without a body is an empty object; DELETE may carry a body", async (t) => {
  const { url, seen } = await serve(t, [{ status: 204, body: "" }]);
  assert.deepEqual(await client(url).delete("/v2/tags/a/resources", { resources: [] }), {});
  assert.equal(seen[0]?.body, '{"resources":[]}');
});

test("a redirect is not followed: it could lead off this machine", async (t) => {
  const { url, seen } = await serve(t, [{ status: 302, headers: { location: "http://192.0.2.1/" } }]);
  await assert.rejects(client(url).get("/v2/a"), /302/);
  assert.equal(seen.length, 1);
});

test("requestsPerSecond spaces calls out", async (t) => {
  const { url } = await serve(t, [{ status: 200 }, { status: 200 }, { status: 200 }]);
  const api = client(url, { requestsPerSecond: 20 });
  const start = performance.now();
  await Promise.all([api.get("/a"), api.get("/b"), api.get("/c")]);
  assert.ok(performance.now() - start >= 95, `took ${performance.now() - start} ms`);
});
