#!/usr/bin/env bats
# chillbox-manifest: what is accepted, and what is made of it.

load helper

prepare() {
  manifest=$BATS_TEST_TMPDIR/manifest.json
  cat >"$manifest" <<'JSON'
{"format": 2, "server": "7", "slug": "my-site", "version": "1.0.0", "release": "1.0.0+0123456789ab",
 "artifact": {"bucket": "artifacts", "key": "sites/my-site/a.tar.gz", "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "size": 10},
 "serverName": "my.test", "domains": ["my.test", "www.my.test"], "nginx": "server { proxy_cache var_cache_nginx; set $x ${host}y; }\n",
 "services": [{"name": "api", "lang": "python", "handler": "api", "host": "127.0.0.1", "port": 8001, "workers": 2, "workerClass": "sync",
   "niceness": 5, "maxRequests": 10, "logLevel": "info", "health": {"path": "/up"}, "environment": {"A": "it's\n$x `y`", "PORT": "8001", "EMPTY": ""}}],
 "by": "me", "reason": "test"}
JSON
  sed -i 's/ set $x ${host}y;//' "$manifest"
}

# with FILTER: the manifest after this jq filter.
with() { jq "$1" "$manifest" >"$manifest.changed"; }

check() { script chillbox-manifest check <"${1-$manifest.changed}"; }

@test "check prints the manifest in one form, without who and where" {
  check "$manifest" >"$BATS_TEST_TMPDIR/one"
  with '.by = "another" | .reason = "other" | .server = "8" | .spaces = {"secretKey": "x"}'
  check >"$BATS_TEST_TMPDIR/two"
  cmp "$BATS_TEST_TMPDIR/one" "$BATS_TEST_TMPDIR/two"
  [ "$(jq -r 'has("by"), has("server"), .slug' "$BATS_TEST_TMPDIR/one" | xargs)" = 'false false my-site' ]
}

@test "check names the key that is wrong" {
  while IFS='|' read -r filter message; do
    with "$filter"
    refuses "chillbox-manifest: fatal: the manifest's $message" check
  done <<'TABLE'
.format = 1|format is not 2
.slug = "../x"|slug "../x" is not of the form
.slug = "UP"|slug
.version = "1 2"|version
.release = "1.0.0"|release
.release = "../+0123456789ab"|release
.serverName = "a b"|serverName
.domains = "x"|domains is not a list
.domains[1] = "x;y"|domains\[1\]
.artifact = null|artifact is not an object
.artifact.key = "a/../b"|artifact.key has ..
.artifact.sha256 = "x"|artifact.sha256
.artifact.size = -1|artifact.size -1 is not a whole number
.nginx = " "|nginx is not the text
.nginx = "root ${FOO};"|nginx still has \$\{FOO\}
.services[0].name = "a/b"|services\[0\].name
.services[0].lang = "perl"|services\[0\].lang 'perl' is none of python, chill, python-worker
.services[0].host = "0.0.0.0"|services\[0\].host is not 127.0.0.1
.services[0].secrets = "../x"|services\[0\].secrets
.services[0].port = 80|services\[0\].port 80 is not a whole number from 1024
.services[0].workers = 13|services\[0\].workers
.services[0].workerClass = "a b"|services\[0\].workerClass
.services[0].niceness = 20|services\[0\].niceness
.services[0].logLevel = "loud"|services\[0\].logLevel is none of
.services[0].health.path = "up"|services\[0\].health.path
.services[0].health.status = "200"|services\[0\].health.status
.services[0].health.timeoutSeconds = 0|services\[0\].health.timeoutSeconds
.services[0].workersMaximum = 13|services\[0\].workersMaximum
.services[0] += {lang: "chill", freeze: "yes"}|services\[0\].freeze is not true or false
.services[0] += {lang: "chill", freeze: false, port: 80}|services\[0\].port 80
.services[0] += {lang: "python-worker", count: 1}|services\[0\].runCommand is not a command
.services[0] += {lang: "python-worker", count: 1, runCommand: "rq 'a"}|services\[0\].runCommand cannot be split into words
.services[0] += {lang: "python-worker", count: 65, runCommand: "rq"}|services\[0\].count 65
.services[0].environment["A B"] = ""|services\[0\].environment's name
.services[0].environment.LD_PRELOAD = "x"|services\[0\].environment.LD_PRELOAD is the loader's
.services[0].environment.A = 1|services\[0\].environment.A is not text
.redis = []|redis is not an object
.redis = {port: "1"}|redis.port is chillbox's own
.redis = {loadmodule: "/x"}|redis.loadmodule is not for a site
.redis = {maxmemory: 1}|redis.maxmemory is not text
.redis = {"save\n": ""}|redis has 'save\\n', which is not of the form
.crontab = "x"|crontab is not a list
.crontab = ["# a remark", "* * * * 9 true"]|crontab\[1\]: the day of the week '9' is not
.crontabEnvironment = {LD_PRELOAD: "x"}|crontab.environment.LD_PRELOAD is the loader's
.services += [.services[0]]|services\[1\].name 'api' is there twice
.services += [.services[0] * {name: "b"}]|services\[1\].port 8001 is also my-site's service api's
TABLE
}

@test "check refuses what is no JSON object" {
  echo '[]' >"$manifest.changed"
  refuses 'is not a JSON object' check
  echo '{' >"$manifest.changed"
  refuses 'is not JSON' check
}

@test "render writes the environment, nginx with a cache zone of the site's own, and a service that gunicorn runs" {
  release=$BATS_TEST_TMPDIR/release
  mkdir "$release"
  script chillbox-manifest render "$release" "$scripts" <"$manifest"
  [ "$(cat "$release/version.txt")" = 1.0.0 ]
  [ "$(cat "$release/env/api/A")" = $'it\'s\n$x `y`' ]
  [ "$(cat "$release/env/api/HOME")" = /var/lib/my-site/api ]
  # s6-envdir would take a variable away whose file is empty.
  [ "$(cat "$release/env/api/.empty")" = EMPTY= ]
  [ ! -e "$release/env/api/EMPTY" ]
  grep -q 'keys_zone=cache_my_site:' "$release/nginx/my-site.conf"
  grep -q 'proxy_cache cache_my_site;' "$release/nginx/my-site.conf"
  grep -Fq -- "--worker-class sync --workers 2 --max-requests 10 --log-level info 'my_site_api.app:create_app()'" "$release/services/api/run"
  tr -d '\n' <"$release/services/api/run" | grep -Fq 'nice -n 5 \  /usr/local/lib/chillbox/current/chillbox-confine --secrets my-site/api my-site \'
  for file in run finish; do "${shell[@]}" -n "$release/services/api/$file"; done
  [ "$(cat "$release/services/api/data/socket")" = 'my-site.:8001 127.0.0.1 8001' ]
  [ "$(stat -c %a "$release/env/api" "$release/env/api/A" | xargs)" = '750 640' ]
  # Whatever the site chose is taken after root was given up.
  tr -d '\n' <"$release/services/api/run" | grep -q 'chillbox-confine --secrets my-site/api my-site .*s6-envdir'
  [ "$(tr -d '\n' <"$release/services/api/run" | grep -c 's6-envdir.*chillbox-confine\|/venv/.*chillbox-confine')" = 0 ]
}

# run_of COMMAND: what a worker with this command runs, after what comes before every worker's.
run_of() {
  rm -rf "$BATS_TEST_TMPDIR/release"
  mkdir "$BATS_TEST_TMPDIR/release"
  jq --arg command "$1" '.services = [{name: "mail", lang: "python-worker", handler: "mail", count: 2, runCommand: $command, environment: {}}]' \
    "$manifest" >"$manifest.changed"
  script chillbox-manifest render "$BATS_TEST_TMPDIR/release" "$scripts" <"$manifest.changed"
  "${shell[@]}" -n "$BATS_TEST_TMPDIR/release/services/mail.2/run"
  sed -n 's/^  env CHILLBOX_WORKER=2 //p' "$BATS_TEST_TMPDIR/release/services/mail.2/run"
}

@test "render makes a unit of each copy of a worker, which share a log, and calls a shell only where one is needed" {
  [ "$(run_of 'rq worker')" = 'rq worker' ]
  [ "$(run_of "rq worker 'a; b' \"c|d\" e\\;f")" = "rq worker 'a; b' 'c|d' 'e;f'" ]
  for command in 'a | b' 'a && b' 'a $HOME' 'a >b' 'A=b c' 'a *' 'a "$HOME"' $'a\nb'; do
    [[ "$(run_of "$command")" == "sh -c 'trap"* ]] || { echo "no shell: $command"; return 1; }
  done
  [ "$(cd "$BATS_TEST_TMPDIR/release/services" && echo *)" = 'mail.1 mail.2' ]
  [ "$(cat "$BATS_TEST_TMPDIR/release/services/mail.2/data/log")" = mail ]
  [ -e "$BATS_TEST_TMPDIR/release/services/mail.2/data/exclusive" ]
  [ ! -e "$BATS_TEST_TMPDIR/release/services/mail.2/notification-fd" ]
}

@test "render makes no unit of frozen chill, and one that others wait for of chill that runs" {
  release=$BATS_TEST_TMPDIR/release
  mkdir "$release"
  jq '.services = [{name: "ice", lang: "chill", handler: "ice", freeze: true, environment: {}},
    {name: "page", lang: "chill", handler: "page", freeze: false, host: "127.0.0.1", port: 8003, environment: {CHILL_PORT: "8003"}}]' \
    "$manifest" >"$manifest.changed"
  script chillbox-manifest render "$release" "$scripts" <"$manifest.changed"
  [ "$(ls "$release/services")" = page ]
  [ "$(cd "$release/env" && echo *)" = 'ice page' ]
  [ "$(cat "$release/services/page/data/socket")" = 'my-site.:8003 127.0.0.1 8003' ]
  [ -e "$release/services/page/data/exclusive" ] && [ -e "$release/services/page/data/run_chill.py" ]
  "${shell[@]}" -n "$release/services/page/run"
}

@test "render gives a health check its time, and gunicorn the number of workers or the bounds" {
  release=$BATS_TEST_TMPDIR/release
  mkdir "$release"
  with '.services[0] += {workers: 0, workersMinimum: 2, health: {path: "/up", status: "200-200", timeoutSeconds: 7}}'
  script chillbox-manifest render "$release" "$scripts" <"$manifest.changed"
  [ "$(cat "$release/services/api/data/ready-ms")" = 8000 ]
  grep -Fq "CHILLBOX_FIT='2 0'" "$release/services/api/run"
  run grep -F -- --workers "$release/services/api/run"
  [ "$status" = 1 ]
}

@test "render writes a Redis whose instance says all that it depends on, and nothing that others may read" {
  fake redis-server : && fake redis-cli :
  for change in '.' '.release = "1.0.1+0123456789ab" | .version = "1.0.1" | .nginx = "server { }"' '.redis.maxmemory = "2mb"'; do
    with ".redis = {maxmemory: \"1mb\", \"proc-title-template\": \"a \\\"b\\\"\"} | $change"
    release=$BATS_TEST_TMPDIR/release.$((n += 1))
    mkdir -p "$release/app/redis"
    echo 'user default off' >"$release/app/redis/users.acl"
    script chillbox-manifest render "$release" "$scripts" <"$manifest.changed"
  done
  unit=$BATS_TEST_TMPDIR/release.1/services/_redis
  [ "$(cat "$unit/data/instance")" = "$(cat "$BATS_TEST_TMPDIR/release.2/services/_redis/data/instance")" ]
  [ "$(cat "$unit/data/instance")" != "$(cat "$BATS_TEST_TMPDIR/release.3/services/_redis/data/instance")" ]
  grep -Fqx 'proc-title-template "a \"b\""' "$unit/data/private/redis.conf"
  grep -Fqx 'port "0"' "$unit/data/private/redis.conf"
  grep -Fqx 'shutdown-on-sigterm "save"' "$unit/data/private/redis.conf"
  [ "$(stat -c %a "$unit/data/private" "$unit"/data/private/* | xargs)" = '750 640 640' ]
  grep -Fq 'current/chillbox-confine --no-network _my-site sh data/run-redis' "$unit/run"
  [ -e "$unit/data/first" ]
  for file in run data/run-redis; do "${shell[@]}" -n "$unit/$file"; done
}

@test "render writes a crontab whose lines run as the site" {
  with '.crontab = ["# a remark", "@daily echo \"$A\""] | .crontabEnvironment = {A: "b"}'
  release=$BATS_TEST_TMPDIR/release
  mkdir "$release"
  script chillbox-manifest render "$release" "$scripts" <"$manifest.changed"
  unit=$release/services/_cron
  [ "$(cat "$unit/data/private/command.1")" = 'echo "$A"' ]
  [ "$(cut -d ' ' -f 1-3,7 "$unit/data/private/schedule")" = '1 ,0, ,0, both' ]
  [ "$(cat "$release/env/_cron/A" "$release/env/_cron/HOME")" = "b/var/lib/my-site/_cron" ]
  [ -e "$unit/data/exclusive" ]
  tr -d '\n' <"$unit/run" | grep -q 'chillbox-confine --secrets my-site my-site .*s6-envdir.*run-crontab'
  for file in run data/run-crontab; do "${shell[@]}" -n "$unit/$file"; done
}

@test "a unit whose secrets are not there is one of the release and of none that can run" {
  release=$BATS_TEST_TMPDIR/release
  mkdir "$release"
  with '.services[0].secrets = "a.cfg" | .services[1] = {name: "mail", lang: "python-worker", handler: "mail", count: 2, runCommand: "mail",
    environment: {}, secrets: "m.cfg"} | .services[2] = (.services[1] | .name = "post" | del(.secrets))'
  script chillbox-manifest render "$release" "$scripts" <"$manifest.changed"
  [ "$(cat "$release/services/api/data/secrets")" = /run/tmp/chillbox_secrets/my-site/api/a.cfg ]
  mkdir -p "$ROOT/run/tmp/chillbox_secrets/my-site/mail"
  : >"$ROOT/run/tmp/chillbox_secrets/my-site/mail/m.cfg"
  units() { library ". '$scripts/lib/tree.sh'; $1 '$release'" | xargs; }
  [ "$(units all_units_of)" = 'api mail.1 mail.2 post.1 post.2' ]
  [ "$(units units_of)" = 'mail.1 mail.2 post.1 post.2' ]
}
