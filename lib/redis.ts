import type { SiteProblem } from "./site-problems.ts";

/** A site file's `redis`: directives of redis.conf. */
export type RedisDirectives = Readonly<Record<string, string | number | boolean>>;

/** Directives that chillbox says itself; older site files have some. `server-scripts/manifest/redis.py` has the same lists. */
const own = new Set([
  "aclfile",
  "appenddirname",
  "appendfilename",
  "bind",
  "bind-source-addr",
  "daemonize",
  "dbfilename",
  "dir",
  "logfile",
  "pidfile",
  "port",
  "protected-mode",
  "supervised",
  "syslog-enabled",
  "syslog-facility",
  "syslog-ident",
  "unixsocket",
  "unixsocketgroup",
  "unixsocketperm",
]);

/** What no site may say, and why. */
const refused: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/^(cluster-.*|tls-.*|slaveof|replicaof|sentinel)$/, "is for a Redis that talks to others over the network"],
  [
    /^(include|loadmodule|enable-(debug|module)-command|enable-protected-configs)$/,
    "lets Redis read or run what it should not",
  ],
  [/^rename-command$/, "changes the commands by which chillbox asks whether Redis is there"],
  [/^user$/, "names a user; users stand in the release's SLUG/redis/users.acl"],
];

const directivePattern = /^[a-z][a-z0-9_.-]{0,99}$/;
/** Saying that such a thing is off says nothing new. */
const offValues = new Set(["", "0", "no"]);

/** What a site may not say to its Redis, as errors; what has no effect, as warnings. */
export function redisProblems(redis: RedisDirectives): SiteProblem[] {
  const seen = new Set<string>();
  return Object.entries(redis).flatMap(([key, value]) => {
    const name = key.toLowerCase();
    const problem = { path: ["redis", key], atKey: true } as const;
    const twice = seen.has(name);
    seen.add(name);
    if (twice) {
      return { ...problem, severity: "error", what: "is there twice in other letters", fix: "Take one of them out." };
    }
    if (!directivePattern.test(name)) {
      return { ...problem, severity: "error", what: "is no directive of redis.conf", fix: "Take it out." };
    }
    const why = whyRefused(name, value);
    if (why !== undefined) return { ...problem, severity: "error", what: why, fix: "Take it out." };
    if (textOf(value).includes("\0")) {
      return { ...problem, severity: "error", what: "has a NUL character in it", fix: "Take that out." };
    }
    if (!own.has(name)) return [];
    return { ...problem, severity: "warning", what: "is chillbox's own; it has no effect", fix: "Take it out." };
  });
}

/** The directives that the server gets, as text: those without effect are left out. What `redisProblems` refuses must not be in it. */
export function renderRedis(redis: RedisDirectives): Record<string, string> {
  const directives = Object.entries(redis).map(([key, value]) => [key.toLowerCase(), textOf(value)] as const);
  return Object.fromEntries(
    directives.filter(([name]) => !own.has(name) && !refused.some(([pattern]) => pattern.test(name))),
  );
}

function whyRefused(name: string, value: RedisDirectives[string]): string | undefined {
  if (offValues.has(textOf(value).toLowerCase())) return undefined;
  return refused.find(([pattern]) => pattern.test(name))?.[1];
}

/** As redis.conf has it: `true` is "yes". */
function textOf(value: RedisDirectives[string]): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  return String(value);
}
