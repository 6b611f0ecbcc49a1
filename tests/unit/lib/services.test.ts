import assert from "node:assert/strict";
import { test } from "node:test";
import { renderChill } from "../../../lib/services/chill.ts";
import { renderPython } from "../../../lib/services/python.ts";
import { renderWorker } from "../../../lib/services/worker.ts";

const python = { name: "api", lang: "python" as const, handler: "api", environment: [] };
const chill = { ...python, name: "page", lang: "chill" as const };
const worker = { name: "mail", lang: "python-worker" as const, handler: "mail", "run-cmd": "rq worker" };
const parts = (environment: Record<string, string>) => ({ where: "shop.site.json: it", environment });

test("how many gunicorn workers a service has is a number, or bounds between which the server chooses", () => {
  const cases = [
    [{}, [1, undefined, undefined]],
    [{ workers: 3, workers_maximum: 2 }, [3, undefined, undefined]],
    [{ workers: 0 }, [0, undefined, undefined]],
    [{ workers_minimum: 2 }, [0, 2, undefined]],
    [{ workers: 0, workers_minimum: 1, workers_maximum: 40 }, [0, 1, 12]],
  ] as const;
  for (const [fields, expected] of cases) {
    const made = renderPython({ ...python, ...fields }, parts({ PORT: "8001" }));
    assert.deepEqual([made.workers, made.workersMinimum, made.workersMaximum], expected, JSON.stringify(fields));
  }
});

test("a health check has a range of statuses and a time", () => {
  const health = (healthcheck?: { path: string; status?: number | string; timeout?: number }) =>
    renderPython({ ...python, ...(healthcheck ? { healthcheck } : {}) }, parts({ PORT: "8001" })).health;
  assert.equal(health(), null);
  assert.deepEqual(health({ path: "/up" }), { path: "/up", status: "200-399", timeoutSeconds: 30 });
  assert.deepEqual(health({ path: "/up", status: 204, timeout: 5 }), {
    path: "/up",
    status: "204-204",
    timeoutSeconds: 5,
  });
  assert.equal(health({ path: "/up", status: "200-299" })?.status, "200-299");
});

test("a worker is one copy at the lowest priority that it asks for", () => {
  const environment = { A: "b" };
  const made = { name: "mail", lang: "python-worker", handler: "mail", runCommand: "rq worker", environment };
  assert.deepEqual(renderWorker(worker, parts(environment)), { ...made, count: 1, niceness: 0 });
  const more = renderWorker({ ...worker, count: 3, niceness: 7 }, parts(environment));
  assert.deepEqual(more, { ...made, count: 3, niceness: 7 });
});

test("a quote that is not closed in a worker's command is told before anything is sent", () => {
  for (const command of ["rq 'a", 'rq "a', 'rq "a\\"', "rq a\\"]) {
    const render = () => renderWorker({ ...worker, "run-cmd": command }, parts({}));
    assert.throws(render, { name: "UserError", message: /^shop\.site\.json: it: a quote in "run-cmd" is not closed/ });
  }
  for (const command of [`rq 'a "b'`, `rq "it's"`, "rq it\\'s", 'rq "a\\"b"']) {
    assert.equal(renderWorker({ ...worker, "run-cmd": command }, parts({})).runCommand, command);
  }
  assert.throws(() => renderWorker({ ...worker, "run-cmd": " " }, parts({})), { message: /empty "run-cmd"/ });
});

test("chill is frozen, or has a port on loopback", () => {
  const render = (environment: Record<string, string>) => renderChill(chill, parts(environment));
  assert.equal(render({ freeze: "true" }).freeze, true);
  assert.equal("port" in render({ freeze: "true", CHILL_PORT: "8001" }), false);
  const running = render({ freeze: "false", CHILL_HOST: "localhost", CHILL_PORT: "8001" });
  assert.deepEqual("port" in running && [running.host, running.port], ["127.0.0.1", 8001]);
  assert.throws(() => render({}), { name: "UserError", message: /it has no CHILL_PORT in its "environment"/ });
  assert.throws(() => render({ CHILL_HOST: "10.0.0.1", CHILL_PORT: "8001" }), { message: /CHILL_HOST "10\.0\.0\.1"/ });
});
