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
  for service in .. 'a b' 'a;b' ../../x 1a _a; do refuses 'is not the name of a service' script chillbox-logs hello "$service"; done
  for lines in 0 -1 x 1x 99999999 ''; do refuses '-n needs a number' script chillbox-logs -n "$lines" hello; done
  refuses 'no site hello was ever' script chillbox-logs hello
}

@test "logs prints the services' logs and nginx's, each or all, and none of a site whose name begins alike" {
  mkdir -p "$sites"/hello/releases/1/services/api "$ROOT"/var/log/{hello-api,hello-world-api,nginx/hello}
  seq 10 >"$ROOT/var/log/hello-api/current"
  echo no >"$ROOT/var/log/hello-world-api/current"
  echo asked >"$ROOT/var/log/nginx/hello/access.log"
  run script chillbox-logs -n 2 hello api
  [ "$output" = $'9\n10' ]
  run script chillbox-logs hello nginx
  [ "$output" = asked ]
  run script chillbox-logs -n 1 hello
  [[ $output == *hello-api/current*10*access.log*asked ]]
  refuses 'there is no such log yet' script chillbox-logs hello world-api
}

@test "logs -f ends with its input" {
  mkdir -p "$sites"/hello/releases/1/services/api "$ROOT/var/log/hello-api"
  echo one >"$ROOT/var/log/hello-api/current"
  (sleep 1; echo two >>"$ROOT/var/log/hello-api/current"; sleep 2) | script chillbox-logs -f hello api >"$BATS_TEST_TMPDIR/out"
  [ "$(cat "$BATS_TEST_TMPDIR/out")" = $'one\ntwo' ]
  run pgrep -f "tail -n 100 -F $ROOT"
  [ "$status" -ne 0 ]
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
