#!/usr/bin/env bats
# chillbox-scripts: installing and changing the scripts themselves.

load helper

# bundle TEXT: an archive of one script that prints TEXT.
bundle() {
  local folder=$BATS_TEST_TMPDIR/bundle
  rm -rf "$folder"
  mkdir -p "$folder/lib"
  printf '#!/bin/sh\necho %s\n' "$1" >"$folder/chillbox-test"
  chmod +x "$folder/chillbox-test"
  tar -C "$folder" -cf "$BATS_TEST_TMPDIR/$1.tar" chillbox-test lib
}

# wheels NAME KIND/PACKAGE...: an archive of wheels that hold an empty package.
wheels() {
  local name=$1 folder=$BATS_TEST_TMPDIR/wheels
  shift
  rm -rf "$folder"
  for wheel; do
    mkdir -p "$folder/${wheel%/*}"
    (cd "$folder/${wheel%/*}" && python3 -c 'import sys, zipfile
zipfile.ZipFile(sys.argv[1] + "-1-py3-none-any.whl", "w").writestr(sys.argv[1] + "/__init__.py", "")' "${wheel#*/}")
  done
  tar -C "$folder" -cf "$BATS_TEST_TMPDIR/$name.tar" .
}

prepare() {
  wheels wheels base/gunicorn base/setuptools asgi/uvicorn chill/chill
}

install() { script chillbox-scripts install "$BATS_TEST_TMPDIR/$1.tar" "$BATS_TEST_TMPDIR/${2-wheels}.tar"; }

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

@test "gives each kind of service a folder of its own, and tells a wheel that has no place" {
  bundle one
  install one
  cd "$ROOT/var/lib/chillbox/python/current/"
  [ "$(ls -d */*)" = "$(printf '%s\n' asgi/uvicorn chill/chill runtime/gunicorn runtime/setuptools tools/setuptools)" ]
  [ "$(readlink runtime/setuptools)" = ../tools/setuptools ]
  wheels other base/gunicorn asgi/uvicorn
  [ "$(install one other)" = '{"changed": true}' ]
  [ ! -e "$ROOT/var/lib/chillbox/python/current/chill/chill" ]
  wheels foreign base/uvicorn
  run install one foreign
  [ "$status" -ne 0 ]
  [[ "$output" == *"base/uvicorn-1-py3-none-any.whl is not one of the wheels that a server needs"* ]]
  [ -e "$ROOT/var/lib/chillbox/python/current/asgi/uvicorn" ]
}
