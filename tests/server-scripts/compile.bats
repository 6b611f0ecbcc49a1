#!/usr/bin/env bats
# chillbox-compile: the Python packages that chillbox carries, compiled after the bootstrap.

load helper

prepare() {
  packages=$ROOT/var/lib/chillbox/python/0123456789abcdef
  for part in tools runtime asgi chill; do
    mkdir -p "$packages/$part"
    echo 'word = 1' >"$packages/$part/$part.py"
  done
  ln -s 0123456789abcdef "$ROOT/var/lib/chillbox/python/current"
}

compiled() { (cd "$packages" && ls -- */__pycache__/*.pyc 2>/dev/null | cut -d / -f 1 | tr '\n' ' '); }

@test "compiles the part that is asked for, then the others, each but once" {
  script chillbox-compile tools
  [ "$(compiled)" = 'tools ' ]
  script chillbox-compile
  [ "$(compiled)" = 'asgi chill runtime tools ' ]
  fake python3 'echo started; exit 1'
  run script chillbox-compile
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

@test "goes on after a kill" {
  fake python3 'kill -KILL $PPID'
  run script chillbox-compile tools
  [ "$status" -ne 0 ]
  rm "$BATS_TEST_TMPDIR/bin/python3"
  script chillbox-compile tools
  [ "$(compiled)" = 'tools ' ]
}

@test "does not wait for another call that has the time of the world" {
  fake python3 'echo $$ >"$ROOT/asleep.new" && mv "$ROOT/asleep.new" "$ROOT/asleep"; exec sleep 60'
  script chillbox-compile 3>&- &
  other=$!
  until [ -e "$ROOT/asleep" ]; do sleep 0.1; done
  rm "$BATS_TEST_TMPDIR/bin/python3"
  script chillbox-compile tools
  [ "$(compiled)" = 'tools ' ]
  kill "$other" "$(cat "$ROOT/asleep")"
}
