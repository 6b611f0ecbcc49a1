import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { resolve } from "node:path";
import { test } from "node:test";
import { type RedisDirectives, redisProblems, renderRedis } from "../../../lib/redis.ts";

test("directives become the text of redis.conf's values", () => {
  const redis = { MaxMemory: "16mb", appendonly: true, databases: 2, save: "900 1 300 10", lfu: false };
  assert.deepEqual(redisProblems(redis), []);
  assert.deepEqual(renderRedis(redis), {
    maxmemory: "16mb",
    appendonly: "yes",
    databases: "2",
    save: "900 1 300 10",
    lfu: "no",
  });
});

test("what is chillbox's own is left out with a warning, as older site files have it", () => {
  const redis = {
    port: 6379,
    bind: "127.0.0.1 -::1",
    unixsocket: "/x",
    aclfile: "/y",
    dir: "/z",
    "protected-mode": false,
    Dir: "",
  };
  const problems = redisProblems({ ...redis, Dir: undefined as never });
  assert.deepEqual([...new Set(problems.slice(0, 6).map(({ severity }) => severity))], ["warning"]);
  assert.deepEqual(renderRedis({ port: 6379, bind: "127.0.0.1 -::1", maxmemory: "1mb" }), { maxmemory: "1mb" });
});

const refused = [
  "include",
  "loadmodule",
  "LoadModule",
  "rename-command",
  "user",
  "replicaof",
  "slaveof",
  "sentinel",
  "enable-debug-command",
  "enable-module-command",
  "enable-protected-configs",
  "cluster-enabled",
  "tls-port",
  "tls-cert-file",
];

test("what loads code, reaches out, or changes the commands is refused, unless it says that it is off", () => {
  for (const name of refused) {
    const [problem] = redisProblems({ [name]: "yes" });
    assert.equal(problem?.severity, "error", name);
    assert.deepEqual(problem?.path, ["redis", name]);
    assert.deepEqual(redisProblems({ [name]: false }), [], name);
    assert.deepEqual(renderRedis({ [name]: false }), {}, name);
  }
  const bads: RedisDirectives[] = [
    { "two\nlines": "" },
    { "": "" },
    { maxmemory: "1", MAXMEMORY: "2" },
    { save: "\0" },
  ];
  for (const bad of bads) {
    assert.equal(redisProblems(bad).at(-1)?.severity, "error", JSON.stringify(bad));
  }
});

test("the server refuses what the laptop leaves out or refuses", () => {
  const scripts = resolve(import.meta.dirname, "../../../server-scripts/manifest");
  const program = `
import json, sys
sys.path.insert(0, ${JSON.stringify(scripts)}); sys.dont_write_bytecode = True
from checks import Wrong
from redis import check, quote
def ask(name):
    try: check("redis", {name: "yes"})
    except Wrong as error: return str(error)
print(json.dumps([[ask(name) for name in json.load(sys.stdin)], quote('a "b" \\\\ \\n\\u00e9')]))
`;
  const own = [
    "aclfile",
    "bind",
    "dbfilename",
    "dir",
    "logfile",
    "pidfile",
    "port",
    "protected-mode",
    "unixsocket",
    "unixsocketperm",
  ];
  const names = [...refused.map((name) => name.toLowerCase()), ...own, "Port", "two\nlines"];
  for (const name of own) assert.equal(redisProblems({ [name]: "x" })[0]?.severity, "warning", name);
  const said = execFileSync("python3", ["-c", program], { input: JSON.stringify(names), encoding: "utf8" });
  const [answers, quoted] = JSON.parse(said) as [(string | null)[], string];
  for (const [index, answer] of answers.entries()) assert.match(answer ?? "", /^redis/, names[index]);
  assert.equal(quoted, String.raw`"a \"b\" \\ \x0a\xc3\xa9"`);
});
