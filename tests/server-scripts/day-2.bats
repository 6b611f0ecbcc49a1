#!/usr/bin/env bats
# What a person asks of a running server: arguments, what is refused, what is printed. server.test.ts has the rest, on a real server.

load helper

prepare() {
  for name in s6-svok s6-svstat curl jq; do command -v "$name" >/dev/null || fake "$name" 'exit 1'; done
  sites=$ROOT/var/lib/chillbox/sites
}

# release VERSION: a whole release of the site "hello", without services.
release() {
  mkdir -p "$sites/hello/releases/$1+0123456789ab"
  echo "{\"slug\":\"hello\",\"version\":\"$1\",\"release\":\"$1+0123456789ab\",\"serverName\":\"hello.test\",\"domains\":[],\"services\":[]}" \
    >"$sites/hello/releases/$1+0123456789ab/manifest.json"
  touch "$sites/hello/releases/$1+0123456789ab/complete"
}

# site VERSION...: the releases; the last one is in use.
site() {
  for version; do release "$version"; done
  ln -sfn "releases/$version+0123456789ab" "$sites/hello/current"
}

logged() { printf '2026-01-02T03:04:05Z\tme\t%s\t%s\twhy\t%s\n' "$@" >>"$sites/hello/log"; }

rollback() { echo "$1" | script chillbox-site rollback; }

@test "logs refuses what is no slug, no service, no number" {
  refuses 'say SLUG and perhaps SERVICE' script chillbox-logs
  refuses 'say SLUG and perhaps SERVICE' script chillbox-logs a b c
  for slug in ../x A 'a b' 'a;b' '$(a)' a/b; do refuses 'is not a slug' script chillbox-logs "$slug"; done
  for service in .. 'a b' 'a;b' ../../x 1a __a; do refuses 'is not the name of a service' script chillbox-logs hello "$service"; done
  for lines in 0 -1 x 1x 99999999 ''; do refuses '-n needs a number' script chillbox-logs -n "$lines" hello; done
  refuses 'no site hello was ever' script chillbox-logs hello
}

# log_of SITE SERVICE: its folder, in which its logger said whose it is.
log_of() {
  mkdir -p "$sites/$1" "$ROOT/var/log/$1-$2"
  echo "$1" >"$ROOT/var/log/$1-$2/owner"
  log=$ROOT/var/log/$1-$2/current
}

# stamped SECONDS TEXT: a line as s6-log writes it, that long ago.
stamped() { printf '%s.123456789  %s\n' "$(date -d "@$(($(date +%s) - $1))" '+%Y-%m-%d %H:%M:%S')" "$2"; }

@test "logs says which services have not begun to write, and why" {
  site 1.0.0
  logged - 1 installed
  for service in api mail open; do
    mkdir -p "$sites/hello/current/services/$service/data"
    echo "/run/tmp/chillbox_secrets/hello/$service/$service.cfg" >"$sites/hello/current/services/$service/data/secrets"
  done
  mkdir -p "$sites/hello/secrets" "$ROOT/run/tmp/chillbox_secrets/hello/open"
  touch "$ROOT/run/tmp/chillbox_secrets/hello/open/open.cfg"
  echo '{"format":1,"secrets":[{"service":"mail","file":"mail.cfg"}]}' >"$sites/hello/secrets/list.json"
  run script chillbox-logs hello
  [ "${lines[0]}" = 'chillbox-logs: api waits for its secrets: npx chillbox secrets' ]
  [ "${lines[1]}" = 'chillbox-logs: mail is locked: npx chillbox unlock' ]
  [[ ${lines[2]} == *installed ]]
  refuses 'there is no such log yet' script chillbox-logs hello api
  [ "${lines[0]}" = 'chillbox-logs: api waits for its secrets: npx chillbox secrets' ]
}

@test "logs prints the services' logs and nginx's, each or all, and none of a site whose name begins alike" {
  log_of hello-world api
  echo no >"$log"
  log_of hello api
  seq 10 >"$log"
  mkdir -p "$ROOT/var/log/nginx/hello"
  echo asked >"$ROOT/var/log/nginx/hello/access.log"
  logged - 1 installed
  run script chillbox-logs -n 2 hello api
  [ "$output" = $'9\n10' ]
  run script chillbox-logs hello nginx
  [ "$output" = asked ]
  run script chillbox-logs hello deploys
  [[ $output == 2026-*installed ]]
  run script chillbox-logs -n 1 hello
  [[ $output == '==> api <=='*10*'==> nginx access.log <=='*asked*'==> deploys <=='*installed ]]
  refuses 'there is no such log yet; hello has api, nginx, deploys' script chillbox-logs hello world-api
}

@test "logs finds Redis and cron without their underscore" {
  log_of hello _redis
  echo saved >"$log"
  run script chillbox-logs hello redis
  [ "$output" = saved ]
}

@test "logs goes back into files that were rotated away" {
  log_of hello api
  seq 1 3 >"${log%current}@400000006000000000000000.s"
  seq 4 6 >"${log%current}@400000006100000000000000.u"
  touch -d '2026-01-01 00:00:00' "${log%current}@400000006000000000000000.s"
  seq 7 8 >"$log"
  [ "$(script chillbox-logs -n 4 hello api | tr '\n' ' ')" = '5 6 7 8 ' ]
  [ "$(script chillbox-logs -n 100 hello api | wc -l)" = 8 ]
}

@test "logs --since understands how long ago, and refuses what is no time" {
  for text in x 10 -1m 10w 2026-13-01 2026-01-01T25:00 '' '2026-01-01 20:00;x'; do
    refuses '--since needs a time such as' script chillbox-logs --since "$text" hello
  done
  log_of hello api
  { stamped 7200 old; stamped 300 new; stamped 5 newest; } >"$log"
  [ "$(script chillbox-logs --since 10m hello api | cut -d ' ' -f 4 | tr '\n' ' ')" = 'new newest ' ]
  [ "$(script chillbox-logs --since 3h hello api | wc -l)" = 3 ]
  [ "$(script chillbox-logs --since 3h -n 1 hello api | cut -d ' ' -f 4)" = newest ]
  [ -z "$(script chillbox-logs --since 1s hello api)" ]
  since=$(date -u -d "@$(($(date +%s) - 600))" +%Y-%m-%dT%H:%M:%S)
  [ "$(script chillbox-logs --since "$since" hello api | wc -l)" = 2 ]
}

@test "logs --since reads the times of nginx and of deploys, and leaves out files that are older" {
  mkdir -p "$sites/hello" "$ROOT/var/log/nginx/hello"
  access=$ROOT/var/log/nginx/hello/access.log
  for age in 7200 60; do
    time=$(date -d "@$(($(date +%s) - age))" '+%d/%b/%Y:%H:%M:%S %z')
    # The visitor chooses a name and an address that look like times.
    printf '::1 - [01/Jan/2099 [%s] "GET /%s?[01/Jan/2099:00:00:00 +0000] HTTP/1.1" 200 2 "-" "curl"\n' "$time" "$age" >>"$access"
    printf '%s [error] 1#1: %s\nand its next line\n' "$(date -d "@$(($(date +%s) - age))" '+%Y/%m/%d %H:%M:%S')" "$age" >>"${access%/*}/error.log"
  done
  echo 'never read' >"$access.1"
  touch -d '2026-01-01 00:00:00' "$access.1"
  logged - 1 installed
  run script chillbox-logs --since 10m hello
  [[ $output == *'/60?'*'1#1: 60'$'\n''and its next line' ]]
  [[ $output != *7200* ]]
  [[ $output != *installed* ]]
  TZ=UTC-9 run script chillbox-logs --since 2026-01-02T03:04 hello deploys
  [[ $output == *installed ]]
  run script chillbox-logs -n 3 hello nginx
  [[ $output == *'never read'*7200*60* ]]
}

@test "logs --since finds its place in a long log" {
  log_of hello api
  now=$(date +%s)
  awk -v now="$now" 'BEGIN { for (i = 20000; i > 0; i--) print strftime("%Y-%m-%d %H:%M:%S", now - i) ".1  line " i }' >"$log"
  for ago in 100 6000; do
    since=$(date -u -d "@$((now - ago))" +%Y-%m-%dT%H:%M:%S)
    [ "$(script chillbox-logs --since "$since" hello api | head -n 1 | cut -d ' ' -f 4-)" = "line $ago" ]
    [ "$(script chillbox-logs --since "$since" hello api | wc -l)" = "$ago" ]
  done
}

@test "logs opens no link and no fifo that lies in the place of a log of nginx" {
  mkdir -p "$sites/hello" "$ROOT/var/log/nginx/hello"
  echo secret >"$ROOT/secret"
  ln -s "$ROOT/secret" "$ROOT/var/log/nginx/hello/access.log"
  mkfifo "$ROOT/var/log/nginx/hello/error.log"
  run timeout 5 /usr/bin/python3 -IS "$scripts/chillbox-logs" hello nginx
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

@test "logs -f ends with its input, and loses nothing when the log is rotated" {
  log_of hello api
  echo one >"$log"
  (
    sleep 1
    echo two >>"$log"
    mv "$log" "${log%current}@400000006000000000000000.s"
    echo three >"$log"
    log_of hello late
    echo four >"$log"
    sleep 3
  ) | script chillbox-logs -f hello >"$BATS_TEST_TMPDIR/out"
  [ "$(cat "$BATS_TEST_TMPDIR/out")" = $'==> api <==\none\ntwo\nthree\n\n==> late <==\nfour' ]
}

@test "rollback refuses input without a good slug or release" {
  refuses 'standard input has no slug' rollback '{}'
  refuses 'standard input has no slug' rollback 'x'
  refuses '"../x" is not a slug' rollback '{"slug":"../x"}'
  refuses 'no site hello is on this server' rollback '{"slug":"hello"}'
  site 1.0.0
  refuses 'is not a name of one' rollback '{"slug":"hello","release":"../../x"}'
  refuses 'is not a name of one' rollback '{"slug":"hello","release":"a b"}'
}

@test "rollback names the kept releases when it has not the one that is wanted" {
  site 1.0.0 1.1.0
  refuses '2.0.0 is not kept on this server; kept of hello: 1.0.0\+0123456789ab, 1.1.0\+0123456789ab \(in use\)' \
    rollback '{"slug":"hello","release":"2.0.0"}'
  refuses 'hello had no release before 1.1.0\+0123456789ab; kept of hello: 1.0.0' rollback '{"slug":"hello"}'
  logged 0.9.0+0123456789ab 1.1.0+0123456789ab installed
  refuses 'the release before 1.1.0\+0123456789ab, 0.9.0\+0123456789ab, is not kept' rollback '{"slug":"hello"}'
  rm "$sites/hello/releases/1.0.0+0123456789ab/complete"
  refuses '1.0.0 is not kept.*kept of hello: 1.1.0\+0123456789ab \(in use\)$' rollback '{"slug":"hello","release":"1.0.0"}'
}

@test "rollback asks which when a version has several releases" {
  site 1.0.0 1.1.0
  cp -R "$sites/hello/releases/1.0.0+0123456789ab" "$sites/hello/releases/1.0.0+ba9876543210"
  refuses 'several releases of version 1.0.0: say which' rollback '{"slug":"hello","release":"1.0.0"}'
}

@test "log prints the newest deploys, and those of a removed site" {
  refuses 'no site hello was ever' script chillbox-site log <<<'{"slug":"hello"}'
  mkdir -p "$sites/hello"
  logged - 1 installed
  logged 1 - removed
  run script chillbox-site log <<<'{"slug":"hello","lines":1}'
  [ "$output" = '[{"when":"2026-01-02T03:04:05Z","by":"me","from":"1","to":"-","why":"why","result":"removed"}]' ]
  [ "$(script chillbox-site log <<<'{"slug":"hello"}' | jq length)" = 2 ]
  refuses 'lines is not a number' script chillbox-site log <<<'{"slug":"hello","lines":"x"}'
}

@test "status is one JSON object with the server and its sites" {
  mkdir -p "$ROOT/etc/chillbox"
  echo '{"serverName":"box.test"}' >"$ROOT/etc/chillbox/identity.json"
  printf 'NAME=x\nPRETTY_NAME="Alpine Linux v3.22"\n' >"$ROOT/etc/os-release"
  site 1.0.0 1.1.0
  logged 1.0.0+0123456789ab 1.1.0+0123456789ab installed
  echo '{"from":["1.2.0+0123456789ab"],"to":"1.1.0+0123456789ab"}' >"$sites/hello/pin"
  script chillbox-status >"$BATS_TEST_TMPDIR/status"
  jq -e '.server.serverName == "box.test" and .server.system == "Alpine Linux v3.22" and .server.uptimeSeconds > 0
    and .server.memory.totalBytes > .server.memory.availableBytes and .server.disk.totalBytes > 0 and .server.nginx.up == false
    and (.sites | length) == 1 and .sites[0].lastDeploy.result == "installed" and .sites[0].pin.from == ["1.2.0+0123456789ab"]
    and (.sites[0].releases | length) == 2 and .sites[0].since != null' "$BATS_TEST_TMPDIR/status"
  echo '{"from":["1.1.0+0123456789ab"],"to":"1.0.0+0123456789ab"}' >"$sites/hello/pin"
  [ "$(script chillbox-site list | jq '.[0].pin')" = null ]
}
