import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { commandFor } from "../../cli/logs.ts";
import { readSince } from "../../cli/since.ts";

describe("logs --since", () => {
  it("leaves how long ago to the server's clock, and gives times in UTC", () => {
    for (const text of ["90s", "10m", "2h", "3d"]) assert.equal(readSince(text), text);
    assert.equal(readSince("2026-11-22T20:00Z"), "2026-11-22T20:00:00");
    assert.equal(readSince("2026-11-22 20:00:30+02:00"), "2026-11-22T18:00:30");
    const here = new Date(2026, 10, 22, 20, 0).toISOString().slice(0, 19);
    assert.equal(readSince("2026-11-22T20:00"), here);
    assert.equal(readSince("2026-11-22"), new Date(2026, 10, 22).toISOString().slice(0, 19));
  });

  it("refuses what is no time", () => {
    for (const text of ["", "10", "10w", "-5m", "2026-02-30", "2026-11-22T25:00", "yesterday", "1m; reboot"]) {
      assert.throws(() => readSince(text), /such as 10m, 2h or 3d/, text);
    }
  });

  it("is passed on with the other options in words that need no quotes", () => {
    assert.equal(commandFor({ stack: "local", slug: "hello" }), "doas chillbox-logs hello");
    const all = { stack: "local", slug: "hello", service: "api", lines: 5, since: "10m", follow: true };
    assert.equal(commandFor(all), "doas chillbox-logs -f -n 5 --since 10m hello api");
  });
});
