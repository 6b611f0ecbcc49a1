#!/usr/bin/env bats
# chillbox-site-purge: what a removed site keeps goes by its name, and nothing else.

load helper

prepare() {
  sites=$ROOT/var/lib/chillbox/sites
  fake deluser 'sed -i "/^$1:/d" "$ROOT/etc/passwd"'
  fake delgroup 'sed -i "/^$1:/d" "$ROOT/etc/group"'
  for name in hello hello-world; do
    mkdir -p "$ROOT/var/lib/$name/api" "$sites/$name" "$ROOT/var/log/$name-api" "$ROOT/var/log/nginx/$name"
    echo data >"$ROOT/var/lib/$name/api/file"
    echo "$name" >"$ROOT/var/log/$name-api/owner"
    echo line >"$ROOT/var/log/$name-api/current"
    echo deployed >"$sites/$name/log"
  done
  # A service of the site "hello" whose log is named as one of "hello-world" could be.
  mkdir "$ROOT/var/log/hello-world-mail"
  echo hello >"$ROOT/var/log/hello-world-mail/owner"
  printf 'root:x:0:0\nmail:x:8:8\nhello:x:2000:2000\n_hello:x:3000:3000\nhello-world:x:2001:2001\n' >"$ROOT/etc/passwd"
  printf 'root:x:0\nhello:x:2000\n_hello:x:3000\nhello-world:x:2001\n' >"$ROOT/etc/group"
}

purge() { script chillbox-site purge <<<"$1"; }

# places SLUG: what there is of a site, but for its user.
places() {
  ls -d "$ROOT/var/lib/$1" "$ROOT/var/log/$1-api" "$ROOT/var/log/nginx/$1" "$sites/$1" 2>/dev/null | wc -l
}

@test "purge looks, then removes everything of one site and nothing of a neighbour" {
  purge '{"slug":"hello","look":true}' >"$BATS_TEST_TMPDIR/out"
  jq -e '.result == "there" and ([.kept[] | .what] | sort) == ["data", "deploy log", "log", "log", "log", "user", "user"]
    and (.kept[] | select(.what == "data") | (.path | endswith("/var/lib/hello/api")) and .bytes > 0)' "$BATS_TEST_TMPDIR/out"
  [ "$(places hello)" = 4 ]
  [ "$(purge '{"slug":"hello"}' | jq -r .result)" = purged ]
  [ "$(places hello)" = 0 ]
  [ ! -e "$ROOT/var/log/hello-world-mail" ]
  [ "$(places hello-world)" = 4 ]
  [ "$(cut -d : -f 1 "$ROOT/etc/passwd" | tr '\n' ' ')" = 'root mail hello-world ' ]
  [ "$(cut -d : -f 1 "$ROOT/etc/group" | tr '\n' ' ')" = 'root hello-world ' ]
  [ "$(purge '{"slug":"hello"}')" = '{"result":"unchanged","kept":[]}' ]
}

@test "purge refuses a site that is still there" {
  mkdir "$sites/hello/releases"
  refuses 'hello is still on this server: take its site file out of sites/' purge '{"slug":"hello"}'
  rmdir "$sites/hello/releases"
  ln -s releases/1 "$sites/hello/current"
  refuses 'hello is still on this server' purge '{"slug":"hello"}'
  [ "$(places hello)" = 4 ]
}

@test "purge touches nothing that only has the name of a site" {
  mkdir -p "$ROOT/var/lib/mail/spool"
  [ "$(purge '{"slug":"mail"}' | jq -r .result)" = unchanged ]
  mkdir "$sites/mail"
  purge '{"slug":"mail"}'
  grep -q '^mail:' "$ROOT/etc/passwd"
  refuses 'is not a slug' purge '{"slug":"../hello"}'
  refuses 'has no slug' purge '{}'
}

@test "purge that failed half-way is ended by the next one" {
  fake deluser 'exit 1'
  run purge '{"slug":"hello"}'
  [ "$status" -ne 0 ]
  fake deluser 'sed -i "/^$1:/d" "$ROOT/etc/passwd"'
  [ "$(purge '{"slug":"hello","look":true}' | jq -r .result)" = there ]
  [ "$(purge '{"slug":"hello"}' | jq -r .result)" = purged ]
  [ "$(places hello)" = 0 ]
}
