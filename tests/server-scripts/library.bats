#!/usr/bin/env bats
# lib/chillbox.sh: files that last, locks, slugs.

load helper

@test "put_file writes a file with its mode, and says when it was the same" {
  run library 'echo one | put_file 640 root:root "$ROOT/file"; stat -c %a "$ROOT/file"; cat "$ROOT/file"'
  [ "$output" = $'640\none' ]
  run library 'echo one | put_file 640 root:root "$ROOT/file"'
  [ "$status" -eq 1 ]
  library 'echo two | put_file 640 root:root "$ROOT/file"'
  library 'echo two | put_file 600 root:root "$ROOT/file"'
  [ "$(ls "$ROOT")" = $'etc\nfile\nrun' ]
}

@test "put_file leaves the old file when its input ends in a failure" {
  library 'echo old | put_file 600 root:root "$ROOT/file"'
  fake fsync 'exit 1'
  run library 'echo new | put_file 600 root:root "$ROOT/file"'
  [ "$status" -ne 0 ]
  [ "$(cat "$ROOT/file")" = old ]
}

@test "put_link changes a link in one step, also when a killed run left its half" {
  mkdir -p "$ROOT/one" "$ROOT/two"
  library 'put_link one "$ROOT/current"'
  ln -s elsewhere "$ROOT/current.new"
  library 'put_link two "$ROOT/current"'
  [ "$(readlink "$ROOT/current")" = two ]
  run library 'put_link two "$ROOT/current"'
  [ "$status" -eq 1 ]
  [ ! -e "$ROOT/current.new" ]
}

@test "a lock is waited for, and the error says whose it is" {
  library 'lock site.hello 1; sleep 4' &
  sleep 0.5
  refuses "library \(process [0-9]+\) has held the lock 'site.hello' for 1 s" library 'slug=hello; lock site.hello 1'
  library 'lock site.other 1'
  wait
}

@test "the limit of a lock is for each holder: who waits behind several is not refused" {
  for _ in 1 2; do library 'lock switch 6; sleep 3.5' & done
  sleep 0.5
  library 'lock switch 6'
  wait
}

@test "a lock is free once its holder was killed" {
  library 'lock site.hello 1; echo held; exec sleep 30' >"$BATS_TEST_TMPDIR/held" &
  holder=$!
  until [ -s "$BATS_TEST_TMPDIR/held" ]; do sleep 0.1; done
  kill -KILL "$(pgrep -P "$holder" || echo "$holder")" "$holder"
  library 'lock site.hello 5'
}

@test "the private folder goes away with its script, however it ends, and a killed one's with the next" {
  library 'make_work; echo secret >"$WORK/file"; die no' || true
  [ -z "$(ls -A "$ROOT/run/chillbox")" ]
  mkdir -p "$ROOT/run/chillbox/work.4194999.abcdef"
  library 'make_work; stat -c %a "$WORK"' >"$BATS_TEST_TMPDIR/mode"
  [ "$(cat "$BATS_TEST_TMPDIR/mode")" = 700 ]
  [ -z "$(ls -A "$ROOT/run/chillbox")" ]
}

@test "only slugs are slugs" {
  for slug in a hello site-1 abcdefghijklmnopqrstuvwxyz01234; do library "is_slug $slug"; done
  for slug in '""' 1a -a A a_b a.b a/b '"a b"' abcdefghijklmnopqrstuvwxyz012345; do
    run library "is_slug $slug"
    [ "$status" -eq 1 ]
  done
}

# slots SECONDS: as an install takes one, with two cores; holds it for so long and notes how many had one at that time.
slots() {
  library ". '$scripts/lib/slots.sh'; take_slot; touch $BATS_TEST_TMPDIR/in.\$\$; ls $BATS_TEST_TMPDIR | grep -c ^in >>$BATS_TEST_TMPDIR/most
    sleep $1; rm $BATS_TEST_TMPDIR/in.\$\$"
}

@test "as many installs run at a time as there are cores; the others wait, say so, and are never refused" {
  fake nproc 'echo 2'
  for _ in 1 2 3 4 5 6; do slots 1.5 2>>"$BATS_TEST_TMPDIR/said" & done
  wait
  [ "$(sort -n "$BATS_TEST_TMPDIR/most" | tail -n 1)" = 2 ]
  [ "$(wc -l <"$BATS_TEST_TMPDIR/most")" = 6 ]
  grep -q 'waits for its turn: this server installs 2 sites at a time' "$BATS_TEST_TMPDIR/said"
}

@test "a slot is free once its holder was killed" {
  fake nproc 'echo 1'
  library ". '$scripts/lib/slots.sh'; take_slot; echo held; exec sleep 30" >"$BATS_TEST_TMPDIR/held" &
  holder=$!
  until [ -s "$BATS_TEST_TMPDIR/held" ]; do sleep 0.1; done
  kill -KILL "$(pgrep -P "$holder" || echo "$holder")" "$holder"
  slots 0
}

@test "a step is told, and the command stops there when root says so" {
  run library 'step one; echo after'
  [ "$output" = "library: step: one
after" ]
  mkdir -p "$ROOT/run/chillbox"
  echo two >"$ROOT/run/chillbox/stop-at"
  library 'step one; step two; echo after >"$ROOT/after"' &
  pid=$!
  until grep -q '^State:.T' "/proc/$(pgrep -P "$pid" | head -n 1 || echo "$pid")/status" "/proc/$pid/status" 2>/dev/null; do sleep 0.1; done
  [ ! -e "$ROOT/after" ]
  pkill -CONT -P "$pid" || true
  kill -CONT "$pid" || true
  wait "$pid"
  [ -e "$ROOT/after" ]
}

@test "what nobody reads any more stops nothing" {
  library 'trap "" PIPE; log one; echo done >"$ROOT/done"' 2> >(exit)
  [ -e "$ROOT/done" ]
}
