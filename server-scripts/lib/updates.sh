# shellcheck shell=sh
# Updates of Alpine's packages: where things are, and who still runs with files that were replaced.
# shellcheck disable=SC2154,SC2034  # ROOT, STATE come from chillbox.sh; used by the scripts

# held: lines of "package, from, to, who, why" between tabs. log: "when, package, from, to". last: "when, seconds since 1970, what was wrong".
UPDATES=$STATE/updates

# ignored FILE: options of `apk upgrade` that leave out the packages named in the file.
ignored() { if [ -s "$1" ]; then echo "--ignore $(tr '\n' ' ' <"$1")"; fi; }

# stale_pids: processes that have files of the system mapped which are gone: replaced, or removed.
stale_pids() {
  grep -lE '^[^/]* /(usr|lib|lib64|bin|sbin)/.* \(deleted\)$' "$ROOT"/proc/[0-9]*/maps 2>/dev/null | sed 's|.*/proc/\([0-9]*\)/maps$|\1|'
}

# owner_of PID: the name of its user, or nothing when it has ended.
owner_of() { stat -c %U "/proc/$1" 2>/dev/null || true; }

# stale_sites: lines of "SLUG UNIT" for each unit of a site that runs with replaced files. Processes of a site are told by their user.
stale_sites() {
  for stale_user in $(for stale_pid in $(stale_pids); do owner_of "$stale_pid"; done | sort -u); do
    stale_slug=${stale_user#_}
    [ -L "$SITES/$stale_slug/current" ] || continue
    for stale_unit in $(units_of "$SITES/$stale_slug/releases/$(current_of "$stale_slug")"); do
      case $stale_user/$stale_unit in
      _*/_redis) echo "$stale_slug $stale_unit" ;;
      _*/* | */_redis) ;;
      *) echo "$stale_slug $stale_unit" ;;
      esac
    done
  done
}

# is_stale PID LINES_OF_PIDS: the process or one that it started.
is_stale() {
  for is_stale_pid in "$1" $(pgrep -P "$1" || true); do
    if is_among "$is_stale_pid" "$2"; then return 0; fi
  done
  return 1
}

# reboot_reasons: why this server should be restarted, a line each. A container has its kernel from elsewhere.
reboot_reasons() {
  if ! grep -qs 'container=' "$ROOT/proc/1/environ" && [ -d "$ROOT/lib/modules" ] && [ ! -d "$ROOT/lib/modules/$(uname -r)" ]; then
    echo "the kernel $(uname -r) was replaced by $(find "$ROOT/lib/modules" -mindepth 1 -maxdepth 1 -type d | sed 's|.*/||' | sort | paste -sd ' ' -)"
  fi
  [ -z "$ROOT" ] || return 0
  for reboot_pid in $(stale_pids); do
    # The first process, who supervises, holds the sockets or keeps the address: nothing ends these while the server runs.
    case $(cat "/proc/$reboot_pid/comm" 2>/dev/null) in
    init | s6-svscan | s6-supervise | s6-fdholderd | s6-log | udhcpc) cat "/proc/$reboot_pid/comm" ;;
    esac
  done 2>/dev/null | sort -u | paste -sd ' ' - | sed '/./!d; s/^/still with files from before an update: /'
}
