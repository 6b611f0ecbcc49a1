#!/usr/bin/env bats
# What runs a site's crontab: which minutes it looks at, and how it ends. tests/unit/lib/crontab.test.ts tells what a line means.

load helper

prepare() {
  unit=$BATS_TEST_TMPDIR/unit folder=$BATS_TEST_TMPDIR/folder
  mkdir -p "$unit/data/private" "$folder"
  : >"$BATS_TEST_TMPDIR/runs"
  # A clock that the test sets, in seconds; it tells all else as always.
  fake date "if [ \"\$1\" = +%s ]; then cat $BATS_TEST_TMPDIR/clock; else exec $(command -v date) \"\$@\"; fi"
  line 0 'echo ran >>"$BATS_TEST_TMPDIR/runs"'
  export BATS_TEST_TMPDIR
}

teardown() { [ ! -e "$BATS_TEST_TMPDIR/pid" ] || kill -KILL -- "-$(cat "$BATS_TEST_TMPDIR/pid")" 2>/dev/null || true; }

every() { seq -s , "$1" "$2" | sed 's/^/,/; s/$/,/'; }

# line NUMBER COMMAND: one that is due in every minute.
line() {
  printf '%s %s %s %s %s %s both lock%s\n' "$1" "$(every 0 59)" "$(every 0 23)" "$(every 1 31)" "$(every 1 12)" "$(every 0 6)" "$1" >>"$unit/data/private/schedule"
  printf '%s\n' "$2" >"$unit/data/private/command.$1"
}

# clock MINUTE SECOND
clock() { echo $(($1 * 60 + $2)) >"$BATS_TEST_TMPDIR/clock.new" && mv "$BATS_TEST_TMPDIR/clock.new" "$BATS_TEST_TMPDIR/clock"; }

start() {
  setsid "${shell[@]}" "$scripts/cron/run-crontab" "$unit" "$folder" >"$BATS_TEST_TMPDIR/out" 2>&1 3>"$BATS_TEST_TMPDIR/ready" &
  echo $! >"$BATS_TEST_TMPDIR/pid"
}

eventually() {
  for _ in $(seq 100); do
    if "$@"; then return 0; fi
    sleep 0.1
  done
  cat "$BATS_TEST_TMPDIR/out"
  return 1
}

ran() { [ "$(wc -l <"$BATS_TEST_TMPDIR/runs")" = "$1" ]; }
has_ended() { ! kill -0 "$(cat "$BATS_TEST_TMPDIR/pid")" 2>/dev/null; }
looked_at() { [ "$(cat "$folder/minute" 2>/dev/null)" = "$1" ]; }

@test "the minute of the start is over, the next one is run once, at its beginning" {
  clock 1000 59
  start
  eventually test -s "$BATS_TEST_TMPDIR/ready"
  clock 1001 0
  eventually ran 1
  looked_at 1001
}

@test "while a release may still be refused nothing is run; what was due then is made up for" {
  echo 1001 >"$folder/minute"
  : >"$unit/data/trial"
  clock 1002 0
  start
  eventually test -s "$BATS_TEST_TMPDIR/ready"
  sleep 0.5
  ran 0
  looked_at 1001
  rm "$unit/data/trial"
  eventually looked_at 1002
  eventually ran 1
}

@test "a line whose last run is still going is left out" {
  line 1 'echo began >>"$BATS_TEST_TMPDIR/began"; sleep 5'
  echo 998 >"$folder/minute"
  clock 1000 0
  start
  eventually grep -q 'crontab\[1\] is due, but its last run is still going: left out' "$BATS_TEST_TMPDIR/out"
  [ "$(cat "$BATS_TEST_TMPDIR/began")" = began ]
}

@test "a clock that jumps forward leaves out what lies between, and one that is set back runs on from there" {
  echo 1000 >"$folder/minute"
  clock 2000 59
  start
  eventually ran 1
  grep -q 'nothing between them is run' "$BATS_TEST_TMPDIR/out"
  clock 1500 0
  eventually ran 2
  looked_at 1500
}

@test "a clock that is set back a little runs no minute twice" {
  echo 1003 >"$folder/minute"
  clock 1001 59
  start
  eventually test -s "$BATS_TEST_TMPDIR/ready"
  clock 1003 59
  sleep 1.5
  ran 0
  clock 1004 0
  eventually ran 1
}

@test "at TERM a run gets TERM, too, and the end waits for it" {
  line 1 'trap "sleep 1; echo ended >>\"$BATS_TEST_TMPDIR/ended\"; exit 7" TERM; echo >"$BATS_TEST_TMPDIR/began"; while :; do sleep 0.1; done'
  echo 999 >"$folder/minute"
  clock 1000 0
  start
  eventually test -e "$BATS_TEST_TMPDIR/began"
  kill "$(cat "$BATS_TEST_TMPDIR/pid")"
  eventually has_ended
  [ "$(cat "$BATS_TEST_TMPDIR/ended")" = ended ]
  eventually grep -q 'crontab\[1\] ended with exit code 7' "$BATS_TEST_TMPDIR/out"
}
