#!/usr/bin/env bats
# chillbox-scripts: installing and changing the scripts themselves.

load helper

# bundle TEXT: an archive of one script that prints TEXT, and a wheel.
bundle() {
  local folder=$BATS_TEST_TMPDIR/bundle
  rm -rf "$folder"
  mkdir -p "$folder/scripts/lib" "$folder/wheels"
  printf '#!/bin/sh\necho %s\n' "$1" >"$folder/scripts/chillbox-test"
  chmod +x "$folder/scripts/chillbox-test"
  (cd "$folder/wheels" && python3 -c 'import zipfile; zipfile.ZipFile("gunicorn-1-py3-none-any.whl", "w").writestr("gunicorn/__init__.py", "")')
  tar -C "$folder" -cf "$BATS_TEST_TMPDIR/$1.tar" scripts wheels
}

install() { script chillbox-scripts install "$BATS_TEST_TMPDIR/$1.tar"; }

@test "installs, does nothing the second time, changes all at once, keeps two older sets" {
  for number in one two three four five; do
    bundle "$number"
    [ "$(install "$number")" = '{"changed": true}' ]
    [ "$("$ROOT/usr/local/lib/chillbox/current/chillbox-test")" = "$number" ]
    [ "$(install "$number")" = '{"changed": false}' ]
  done
  [ "$(readlink "$ROOT/usr/local/sbin/chillbox-test")" = "$ROOT/usr/local/lib/chillbox/current/chillbox-test" ]
  [ -e "$ROOT/var/lib/chillbox/python/current/runtime/gunicorn/__init__.py" ]
  [ "$(find "$ROOT/usr/local/lib/chillbox" -mindepth 1 -maxdepth 1 -type d | wc -l)" -eq 3 ]
}

@test "goes on after a kill in mid-install" {
  bundle one
  install one
  bundle two
  fake sync 'kill -KILL $PPID'
  run install two
  [ "$status" -ne 0 ]
  [ "$("$ROOT/usr/local/lib/chillbox/current/chillbox-test")" = one ]
  rm "$BATS_TEST_TMPDIR/bin/sync"
  [ "$(install two)" = '{"changed": true}' ]
  [ "$("$ROOT/usr/local/lib/chillbox/current/chillbox-test")" = two ]
  [ -z "$(ls -d "$ROOT"/usr/local/lib/chillbox/*.new 2>/dev/null)" ]
}

@test "refuses a damaged archive and leaves what is in use" {
  bundle one
  install one
  echo nonsense >"$BATS_TEST_TMPDIR/bad.tar"
  run install bad
  [ "$status" -ne 0 ]
  [ "$("$ROOT/usr/local/lib/chillbox/current/chillbox-test")" = one ]
}
