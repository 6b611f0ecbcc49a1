#!/usr/bin/env bats
# When a server updates itself, and when it wants to be restarted.

load helper

prepare() {
  mkdir -p "$ROOT/etc/chillbox" "$ROOT/proc/1" "$ROOT/lib/modules/6.18.7-0-virt" "$ROOT/var/lib/chillbox/sites"
  echo '{"server":"box"}' >"$ROOT/etc/chillbox/identity.json"
  window 03:00-05:00
  : >"$ROOT/proc/1/environ"
  fake fsync true
  fake apk true
  fake uname 'echo 6.18.7-0-virt'
}

window() { echo "{\"automatic\":true,\"window\":\"$1\",\"reboot\":true}" >"$ROOT/etc/chillbox/updates.json"; }

# at HH:MM of a day in 2026: what `status` says under a key.
at() {
  local seconds
  seconds=$(date -u -d "2026-11-23 $1" +%s)
  fake date "case \$* in +%s) echo $seconds ;; *) exec /bin/date \"\$@\" ;; esac"
  script chillbox-update status | jq -r "$2"
}

# done_at HH:MM [PROBLEM]: the last run ended then.
done_at() {
  mkdir -p "$ROOT/var/lib/chillbox/updates"
  printf '2026-11-23T%s:00Z\t%s\t%s\n' "$1" "$(date -u -d "2026-11-23 $1" +%s)" "${2-}" >"$ROOT/var/lib/chillbox/updates/last"
}

@test "a server's moment is in the first half of its window, the same each day, and another server has another one" {
  moment=$(at 01:00 .next)
  [[ $moment == 2026-11-23T03:* ]]
  [ "$(at 02:59 .next)" = "$moment" ]
  echo '{"server":"other"}' >"$ROOT/etc/chillbox/identity.json"
  [ "$(at 01:00 .next)" != "$moment" ]
}

@test "in its window it is due until it went well, and the next day after that" {
  [ "$(at 04:30 .next)" = 2026-11-23T04:30:00Z ]
  done_at 04:29 'the mirrors cannot be asked'
  [ "$(at 04:30 .next)" = 2026-11-23T04:30:00Z ]
  done_at 04:29
  [[ $(at 04:30 .next) == 2026-11-24T03:* ]]
  done_at 01:00
  [[ $(at 05:00 .next) == 2026-11-24T03:* ]]
}

@test "a window may go over midnight" {
  window 23:30-00:30
  [ "$(at 00:29 .next)" = 2026-11-23T00:29:00Z ]
  [[ $(at 00:30 .next) == 2026-11-23T23:* ]]
}

@test "who does not update by itself is never due" {
  echo '{"automatic":false,"window":"03:00-05:00","reboot":true}' >"$ROOT/etc/chillbox/updates.json"
  [ "$(at 04:30 .next)" = null ]
}

@test "a kernel that was replaced asks for a restart; a container's kernel is not its own" {
  [ "$(at 12:00 '.reboot | length')" = 0 ]
  mv "$ROOT/lib/modules/6.18.7-0-virt" "$ROOT/lib/modules/6.18.9-0-virt"
  [ "$(at 12:00 '.reboot[]')" = 'the kernel 6.18.7-0-virt was replaced by 6.18.9-0-virt' ]
  printf 'TERM=linux\0container=lxc\0' >"$ROOT/proc/1/environ"
  [ "$(at 12:00 '.reboot | length')" = 0 ]
}
