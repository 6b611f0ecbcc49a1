# shellcheck shell=sh
# Control groups, version 1 and 2: all sites are in the group `sites`, which leaves room for the host, and each service has a group of its
# own in there, named as it is in the tree. Where there are no control groups nothing is limited, and `chillbox-limit` says so.
# shellcheck disable=SC2154  # ROOT, ETC, RUN come from chillbox.sh, SERVICES from tree.sh

CGROUP=$ROOT/sys/fs/cgroup
MIB=1048576
# Marks of sites that chillbox-disk has ended, by their slugs: "TAKEN SHARE", in MiB.
# shellcheck disable=SC2034  # used by the scripts
OVER_DISK=$RUN/over-disk

# group_roots CONTROLLER...: the folders whose groups have one of these controllers, a line each; version 2 has but one.
group_roots() {
  if [ -e "$CGROUP/cgroup.controllers" ]; then
    echo "$CGROUP"
    return 0
  fi
  for group_roots_name; do [ ! -e "$CGROUP/$group_roots_name/cgroup.procs" ] || echo "$CGROUP/$group_roots_name"; done
}

# memory_mib: of this server; where a control group bounds it, as for a local droplet, that.
memory_mib() {
  {
    awk '$1 == "MemTotal:" { printf "%d\n", $2 / 1024 }' "$ROOT/proc/meminfo"
    awk -v mib=$MIB '$1 == "hierarchical_memory_limit" { printf "%.0f\n", $2 / mib }' "$CGROUP/memory/memory.stat" 2>/dev/null || true
    awk -v mib=$MIB '$1 != "max" { printf "%.0f\n", $1 / mib }' "$CGROUP/memory.max" 2>/dev/null || true
  } | sort -n | head -n 1
}

# make_limits: the group of all sites, and what each service may have, in $RUN/limits: bytes of memory and processes. $ETC/limits has what the
# config says: MiB and processes, 0 for a share of the server (and a site's share of the disk, for chillbox-disk).
make_limits() {
  limits_mib=$(memory_mib)
  limits_reserve=$((limits_mib / 8))
  # What ssh, nginx, s6 and an install need, also on the smallest server.
  [ "$limits_reserve" -ge 96 ] || limits_reserve=96
  limits_memory=0 limits_processes=0
  [ ! -e "$ETC/limits" ] || read -r limits_memory limits_processes _ <"$ETC/limits"
  [ "$limits_memory" != 0 ] || limits_memory=$((limits_mib / 2))
  if [ "$limits_processes" = 0 ]; then
    limits_processes=$((limits_mib / 4))
    [ "$limits_processes" -ge 64 ] || limits_processes=64
  fi
  share_controllers
  set_limits sites $(((limits_mib - limits_reserve) * MIB)) $((limits_mib * 4)) || log 'warning: there are no control groups: no limit holds for sites'
  echo "$((limits_memory * MIB)) $limits_processes" | put_file 644 root:root "$RUN/limits" || true
}

# Version 2 gives controllers to groups below only where no process is beside them; the root group of a real machine may have some.
share_controllers() {
  [ -e "$CGROUP/cgroup.controllers" ] || return 0
  if [ -e "$CGROUP/cgroup.type" ]; then
    mkdir -p "$CGROUP/host"
    while read -r share_pid; do echo "$share_pid" 2>/dev/null >"$CGROUP/host/cgroup.procs" || true; done <"$CGROUP/cgroup.procs"
  fi
  mkdir -p "$CGROUP/sites"
  for share_group in "$CGROUP" "$CGROUP/sites"; do
    for share_name in memory pids cpu; do echo "+$share_name" 2>/dev/null >"$share_group/cgroup.subtree_control" || true; done
  done
}

# set_limits GROUP BYTES PROCESSES: makes the group if there is none. Returns 1 when one of the limits does not hold.
set_limits() {
  set_limits_code=0
  set_limits_roots=$(group_roots memory pids cpu)
  # shellcheck disable=SC2086  # paths without blanks
  make_groups "$1" $set_limits_roots
  set_limit "$1" memory memory.limit_in_bytes memory.max "$2" || set_limits_code=1
  set_limit "$1" pids pids.max pids.max "$3" || set_limits_code=1
  return "$set_limits_code"
}

# make_groups GROUP ROOT...: by one program, since each service that starts waits for it.
make_groups() {
  make_groups_name=$1
  shift
  for make_groups_root; do
    shift
    if [ ! -d "$make_groups_root/$make_groups_name" ]; then set -- "$@" "$make_groups_root/$make_groups_name"; fi
  done
  [ $# = 0 ] || mkdir -p "$@"
}

# set_limit GROUP CONTROLLER FILE_OF_VERSION_1 FILE_OF_VERSION_2 VALUE
set_limit() {
  set_limit_root=$(group_roots "$2")
  [ -n "$set_limit_root" ] || return 1
  if [ "$set_limit_root" = "$CGROUP" ]; then set -- "$1" "$2" "$4" "$4" "$5"; fi
  echo "$5" 2>/dev/null >"$set_limit_root/$1/$3"
}

# join_group NAME PID: the process, and all that it starts from now on, is in the service's group.
join_group() {
  read -r join_bytes join_processes <"$RUN/limits"
  join_code=0
  set_limits "sites/$1" "$join_bytes" "$join_processes" || join_code=1
  for join_root in $(group_roots memory pids cpu); do
    echo "$2" 2>/dev/null >"$join_root/sites/$1/cgroup.procs" || join_code=1
  done
  return "$join_code"
}

# end_group NAME: kills what is left in the group, forks included, and removes it. Nothing happens when there is none.
end_group() {
  for end_group_root in $(group_roots pids memory cpu); do
    end_group_folder=$end_group_root/sites/$1
    [ -d "$end_group_folder" ] || continue
    # Who cannot start another process cannot run away from the kills.
    [ ! -e "$end_group_folder/pids.max" ] || echo 0 >"$end_group_folder/pids.max"
    end_group_count=0
    until [ "$end_group_count" = 100 ] || rmdir "$end_group_folder" 2>/dev/null; do
      while read -r end_group_pid; do kill -KILL "$end_group_pid" 2>/dev/null || true; done <"$end_group_folder/cgroup.procs"
      end_group_count=$((end_group_count + 1))
      sleep 0.05
    done
  done
}

# limit_running: what runs now gets the limits of $RUN/limits, where it fits them.
limit_running() {
  read -r running_bytes running_processes <"$RUN/limits"
  for running_root in $(group_roots memory); do
    for running_folder in "$running_root"/sites/*/; do
      [ -d "$running_folder" ] || continue
      running_folder=${running_folder%/}
      set_limits "sites/${running_folder##*/}" "$running_bytes" "$running_processes" || log "warning: ${running_folder##*/} has more than its limits let it have"
    done
  done
}

# make_disk_watch: the service that ends a site which fills the disk.
make_disk_watch() {
  [ ! -e "$SERVICES/disk" ] || return 0
  rm -rf "$SERVICES/disk.new"
  mkdir "$SERVICES/disk.new"
  cat >"$SERVICES/disk.new/run" <<RUN
#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
cd /
exec $SCRIPTS/current/chillbox-disk
RUN
  chmod 755 "$SERVICES/disk.new/run"
  mv "$SERVICES/disk.new" "$SERVICES/disk"
}
