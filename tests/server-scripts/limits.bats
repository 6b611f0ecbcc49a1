#!/usr/bin/env bats
# chillbox-limit and the control groups of both versions, as plain files: what the kernel makes of them shows tests/security/limits.test.ts.

load helper

prepare() {
  group=$ROOT/sys/fs/cgroup
  mkdir -p "$ROOT/proc" "$ROOT/run/chillbox" "$ROOT/etc/chillbox"
  echo 'MemTotal:         507904 kB' >"$ROOT/proc/meminfo"
}

version_1() { for name in memory pids cpu; do mkdir -p "$group/$name" && : >"$group/$name/cgroup.procs"; done; }

version_2() { mkdir -p "$group" && echo 'cpu memory pids' >"$group/cgroup.controllers"; }

limits() { library ". '$scripts/lib/limits.sh'; $1"; }

@test "all sites together leave an eighth to the host, at least 96 MiB; a service has half of it all" {
  version_1
  limits make_limits
  [ "$(cat "$group/memory/sites/memory.limit_in_bytes")" = $(((496 - 96) * 1048576)) ]
  [ "$(cat "$group/pids/sites/pids.max")" = $((496 * 4)) ]
  [ "$(cat "$ROOT/run/chillbox/limits")" = "$((248 * 1048576)) 124" ]
}

@test "config says otherwise, and what runs already gets it" {
  version_1
  mkdir -p "$group/memory/sites/one.api@1"
  echo '40 20' >"$ROOT/etc/chillbox/limits"
  limits 'make_limits; limit_running'
  [ "$(cat "$ROOT/run/chillbox/limits")" = "$((40 * 1048576)) 20" ]
  [ "$(cat "$group/memory/sites/one.api@1/memory.limit_in_bytes" "$group/pids/sites/one.api@1/pids.max" | xargs)" = "$((40 * 1048576)) 20" ]
}

@test "a container's own bound counts, not the memory of the machine around it" {
  version_1
  echo "hierarchical_memory_limit $((300 * 1048576))" >"$group/memory/memory.stat"
  [ "$(limits memory_mib)" = 300 ]
}

@test "the caller joins a group of its own in version 1" {
  version_1
  limits make_limits
  script chillbox-limit one.api@1
  for name in memory pids cpu; do [ -s "$group/$name/sites/one.api@1/cgroup.procs" ]; done
  [ "$(cat "$group/pids/sites/one.api@1/pids.max")" = 124 ]
}

@test "and in version 2, whose controllers are handed down on the way" {
  version_2
  limits make_limits
  [ "$(cat "$group/sites/memory.max")" = $(((496 - 96) * 1048576)) ]
  [ "$(cat "$group/sites/cgroup.subtree_control")" = +cpu ]
  script chillbox-limit one.api@1
  [ "$(cat "$group/sites/one.api@1/memory.max" "$group/sites/one.api@1/pids.max" | xargs)" = "$((248 * 1048576)) 124" ]
  [ -s "$group/sites/one.api@1/cgroup.procs" ]
}

@test "in a container of version 2 the processes beside the groups move into one" {
  version_2
  echo domain >"$group/cgroup.type"
  printf '1\n7\n' >"$group/cgroup.procs"
  limits make_limits
  [ "$(cat "$group/host/cgroup.procs")" = 7 ]
}

@test "without control groups a service runs, and it is said that nothing limits it" {
  run limits make_limits
  [ "$status" -eq 0 ]
  [[ $output == *'no limit holds'* ]]
  run script chillbox-limit one.api@1
  [ "$status" -eq 0 ]
  [[ $output == *'no limit holds for one.api@1'* ]]
}

@test "a name that could lead elsewhere is refused" {
  refuses 'say NAME' script chillbox-limit ../host
  refuses 'say NAME' script chillbox-limit --end a/b
  refuses 'say NAME' script chillbox-limit
}
