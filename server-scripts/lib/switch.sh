# shellcheck shell=sh
# How a release that lies on the server is put to use without losing a request, or is left out: installing and going back do the same.
# Whoever loads it has set: slug, release, target (the release's folder), site, old (the release in use, or empty), server_name, staged
# (whether the folder goes away again when the release is refused), started, $WORK/manifest.json and $WORK/input.json; and, if something is to
# be undone when the release is refused, undo: the name of a function.
# shellcheck disable=SC2154  # those, and the paths of chillbox.sh

now() { read -r now_s _ </proc/uptime && echo "${now_s%.*}${now_s#*.}0"; }

value() { jq -r ".$1" "$WORK/manifest.json"; }

# Ports and the names of services that another site has. All other sites are read at once: one by one they would take longer than the switch.
check_neighbours() {
  set --
  for neighbour in "$SITES"/*/current/manifest.json; do
    if [ -e "$neighbour" ] && [ "$neighbour" != "$site/current/manifest.json" ]; then set -- "$@" "$neighbour"; fi
  done
  [ $# -gt 0 ] || return 0
  clash=$(jq -rn --slurpfile ours "$WORK/manifest.json" '
    $ours[0] as $a
    | first(
        inputs as $b
        | ([$b.services[].port // empty]) as $ports | ([$b.domains[], $b.serverName]) as $domains
        | def logs: .slug as $s | (.services[].name, "_redis", "_cron") | "\($s)-\(.)";
          ([$b | logs]) as $names
        | [ ($a.services[] | select(.port != null and (.port | IN($ports[]))) | "port \(.port)"),
            ($a.domains[], $a.serverName | select(IN($domains[])) | "the name \(.)"),
            ($a | logs | select(IN($names[])) | "the log folder of \(.)") ]
        | unique | select(length > 0) | "\($a.slug) wants what \($b.slug) already has: \(join(", "))")' "$@") || die "the other sites cannot be read"
  [ -z "$clash" ] || die "$clash. Change it in the site file of one of the two"
}

has_venvs() {
  for service in $(names_of "$target/manifest.json"); do [ -e "$target/venv/$service/bin/python" ] || return 1; done
}

# put_to_use SECONDS: starts the release beside the old one, switches, lets the old one end, and looks on for so long. switched is the
# time in milliseconds until visitors got the new one.
put_to_use() {
  # Who asked for this may be gone; half a switch helps nobody.
  trap '' PIPE
  began=$(date '+%Y-%m-%d %H:%M:%S')
  step 'start the release'
  guard "$slug"
  start_candidates
  step 'check all of nginx'
  lock switch 120
  check_nginx "$slug" "$target" || discard
  # Who said that it is ready may have ended since.
  for unit in $(units_of "$target"); do is_ready "$(running_name "$slug" "$release" "$unit")" || refuse_unit "$unit"; done
  # For a run that finds this release in use, because this one was killed before it could confirm or go back.
  if [ -e "$target/confirmed" ]; then rm -f "$target/confirmed"; fi
  printf '%s\n' "$old" >"$target/previous"
  fsync "$target/previous"
  step switch
  switch_to "$release"
  step 'close the ports to other sites'
  are_ports_closed || "$here/chillbox-ports" || go_back "the ports of $slug cannot be closed to other sites"
  step 'reload nginx'
  if ! { apply_nginx && wait_for_answer; }; then go_back "$slug $release does not answer: $(last_lines)"; fi
  unlock switch
  # shellcheck disable=SC2034  # chillbox-site-rollback tells it
  switched=$(($(now) - started))
  step 'end what it replaces'
  settle_site "$slug"
  step watch
  watch "$1" || go_back "$slug $release failed right after it was put to use: $(last_lines)"
}

# Whether the kernel has the rules that chillbox-ports loads, and they know the release's ports, as they do when it has those of the release before.
are_ports_closed() {
  { [ -e "$RUN/ports" ] && nft list table inet chillbox_sites >/dev/null 2>&1; } || return 1
  closed=$(cat "$RUN/ports")
  uid=$(id -u "$slug")
  for port_socket in "$target"/services/*/data/socket; do
    [ -e "$port_socket" ] || continue
    read -r _ _ port <"$port_socket"
    is_among "$uid . $port" "$closed" || return 1
  done
}

# Each candidate shares the held socket with the release in use and takes nobody until its trial ends. Redis comes first, because the
# others may ask it; what cannot run beside its predecessor comes last, so that visitors wait for it as little as can be.
start_candidates() {
  for group in first overlapping exclusive awaited; do start_group "$group"; done
}

start_group() { start_units "$1" "$(units_of "$target" "$1")"; }

# start_units GROUP UNITS
start_units() {
  [ "$1" = overlapping ] || stop_predecessors "$1"
  for unit in $2; do
    listen_for "$slug" "$release" "$unit" || discard
    copy_unit "$slug" "$release" "$unit" trial
    link_service "$(running_name "$slug" "$release" "$unit")"
  done
  for unit in $2; do
    wait_ready "$(running_name "$slug" "$release" "$unit")" || refuse_unit "$unit"
  done
}

refuse_unit() {
  log "fatal: service $1 of $slug $release did not get ready${old:+, $old stays in use}; $(ending "$1"): $(last_lines)"
  for name in $(running_of "$slug"); do
    if [ -e "$SERVICES/$name/data/trial" ]; then s6-svc -dk "$TREE/$name" 2>/dev/null || true; fi
  done
  discard
}

# stop_predecessors GROUP: the site's running units of this group end, but for those that go on in the new release.
stop_predecessors() {
  wanted=$(running_names "$slug" "$release")
  predecessors=
  for name in $(running_of "$slug"); do
    if [ "$(group_of "$SERVICES/$name")" != "$1" ] || is_among "$name" "$wanted"; then continue; fi
    predecessors="$predecessors $name"
  done
  # shellcheck disable=SC2086  # names are words
  stop_service $predecessors
}

# A release that is refused is not kept, unless it was in use before: so releases/ has nothing that was not.
discard() {
  settle_site "$slug"
  unguard "$slug"
  note "$old" "$release" refused
  "${undo:-:}"
  ! "$staged" || forget_release
  exit 1
}

# The release's folder goes away, and what no other release uses of what was made for it. Data stays.
forget_release() {
  rm -rf "$target"
  prune_venvs
  in_use=$([ ! -e "$site/current" ] || names_of "$site/current/manifest.json")
  for service in $(names_of "$WORK/manifest.json"); do
    if is_among "$service" "$in_use"; then continue; fi
    rm -f "$ROOT/usr/local/src/$slug/$service"
    rmdir "$ROOT/var/lib/$slug/$service" 2>/dev/null || true
  done
}

# Removes the virtual environments that no release on this server uses.
prune_venvs() {
  for link in "$site"/releases/*/venv/*; do
    if [ -L "$link" ]; then readlink -f "$link"; fi
  done >"$WORK/venvs"
  for venv in "$site"/venvs/*; do
    grep -Fqx "$venv" "$WORK/venvs" || remove_folder "$slug" "$venv"
  done
}

# switch_to RELEASE: the rename. Candidates take visitors from now on.
switch_to() {
  put_link "releases/$1" "$site/current" || true
  step 'let visitors in'
  for name in $(running_names "$slug" "$1"); do rm -f "$SERVICES/$name/data/trial"; done
}

go_back() {
  lock switch 120
  log "$1"
  if [ -n "$old" ]; then switch_to "$old"; else rm -f "$site/current"; fi
  settle_site "$slug"
  "$here/chillbox-ports" || true
  apply_nginx || true
  unlock switch
  unguard "$slug"
  note "$old" "$release" 'went back'
  "${undo:-:}"
  ! "$staged" || forget_release
  if [ -n "$old" ]; then die "went back to $old, which is in use again"; fi
  die "$slug is not installed"
}

# The release is current, but perhaps not all of it runs, because a run was killed. Returns 1 when it does not answer.
mend() {
  step mend
  guard "$slug"
  settle_site "$slug"
  lock switch 120
  "$here/chillbox-ports" || exit 1
  apply_nginx || exit 1
  unlock switch
  wait_for_services && wait_for_answer
}

# confirm RESULT: the release has held out: it is not gone back from any more, and the log of deploys has it.
confirm() {
  [ ! -e "$target/confirmed" ] || return 0
  step confirm
  note "$(cat "$target/previous" 2>/dev/null || true)" "$release" "$1"
  : >"$target/confirmed"
  fsync "$target/confirmed"
}

all_ready() {
  for name in $(running_names "$slug" "$release"); do
    if ! is_ready "$name" || [ -e "$SERVICES/$name/data/trial" ]; then return 1; fi
  done
}

no_leftovers() {
  wanted=$(running_names "$slug" "$release")
  for name in $(running_of "$slug"); do is_among "$name" "$wanted" || return 1; done
}

wait_for_services() {
  for name in $(running_names "$slug" "$release"); do wait_ready "$name" || return 1; done
}

# What waits for its secrets cannot answer, so that an error of nginx's own is an answer of such a site.
site_answers() {
  for unit in "$target"/services/*; do
    if lacks_secrets "$unit"; then
      answers "$server_name" error
      return
    fi
  done
  answers "$server_name"
}

wait_for_answer() {
  answer_until=$(($(date +%s) + 10))
  until site_answers; do
    [ "$(date +%s)" -lt "$answer_until" ] || return 1
    sleep 0.1
  done
}

# watch SECONDS: a new release must hold out for a moment while the way back is still short. There is none for a first install.
watch() {
  [ -n "$old" ] || return 0
  watch_pids=$(pids)
  watch_until=$(($(date +%s) + $1))
  while [ "$(date +%s)" -lt "$watch_until" ]; do
    if ! all_ready || [ "$(pids)" != "$watch_pids" ] || ! site_answers; then return 1; fi
    sleep 0.5
  done
}

pids() { for name in $(running_names "$slug" "$release"); do s6-svstat -o pid "$TREE/$name"; done; }

# What the site's services said last, for the person who reads the error. Nothing from before the release was started: it would mislead.
last_lines() {
  sleep 0.1
  cat "$target"/services/*/data/log 2>/dev/null | sort -u | while read -r name; do
    echo
    tail -n 200 "$ROOT/var/log/$slug-$name/current" 2>/dev/null | since_start | tail -n 20 | sed "s/^/  $name: /"
  done
  tail -n 20 "$ROOT/var/log/nginx/$slug/error.log" 2>/dev/null | since_start | tail -n 3 | sed 's/^/  nginx: /' || true
}

# Lines of a log that begin with a time after `began`, or all.
since_start() { awk -v began="${began-}" '{ time = substr($0, 1, 19); gsub("/", "-", time) } time >= began'; }

# ending UNIT: how the candidate's process ended, for people.
ending() {
  ending_name=$(running_name "$slug" "$release" "$1")
  if is_up "$ending_name"; then
    echo 'it runs, but it is not ready'
    return 0
  fi
  ending_code=$(s6-svstat -o exitcode "$TREE/$ending_name" 2>/dev/null || echo 0)
  ending_signal=$(s6-svstat -o signum "$TREE/$ending_name" 2>/dev/null || echo 0)
  # What stands for another process ends with 128 and the number of the signal.
  [ "$ending_code" -le 128 ] || ending_signal=$((ending_code - 128))
  case $ending_signal in
  9) echo 'its process was ended by SIGKILL, perhaps for lack of memory' ;;
  [1-9]*) echo "its process was ended by SIG$(kill -l "$ending_signal")" ;;
  *) echo "its process ended with exit code $ending_code" ;;
  esac
}

# note FROM TO RESULT: a line in the append-only log of deploys. Fields between tabs: when, who, from, to, why, and what became of it:
# installed, rolled back, removed; "refused" and "went back" left FROM in use.
note() {
  read_said
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$said_by" "${1:--}" "${2:--}" "$said_reason" "$3" >>"$site/log"
  fsync "$site/log"
}

# read_said: who the input says is at work, and why, fit for fields of the log.
read_said() {
  [ -z "${said_by-}" ] || return 0
  {
    IFS= read -r said_by
    IFS= read -r said_reason || true
  } <<SAID
$(jq -r '(.by // "unknown"), (.reason // "-") | tostring | gsub("[\u0000-\u001f\u007f]"; " ") | .[:200]' "$WORK/input.json")
SAID
}

# The release that the log says is in use, or nothing. It differs from `current` after a run that was killed between switching and noting.
logged() {
  if [ -e "$site/log" ]; then awk -F '\t' '$6 == "installed" || $6 == "rolled back" { to = $4 } $6 == "removed" { to = "" } END { print to }' "$site/log"; fi
}

# is_pinned RELEASE: whether this site was rolled back from this release and has run what it went back to since then.
is_pinned() {
  [ -e "$site/pin" ] && jq -e --arg release "$1" --arg current "$(current_of "$slug")" '.to == $current and (.from | index([$release]) != null)' "$site/pin" >/dev/null 2>&1
}

# waiting: services of the release in use that are not started without their secrets, as members of a JSON list.
waiting() {
  waiting_list=
  for waiting_unit in "$site/current/services"/*; do
    lacks_secrets "$waiting_unit" || continue
    read -r waiting_path <"$waiting_unit/data/secrets"
    waiting_path=${waiting_path%/*}
    case ",$waiting_list," in *",\"${waiting_path##*/}\","*) ;; *) waiting_list="$waiting_list${waiting_list:+,}\"${waiting_path##*/}\"" ;; esac
  done
  echo "$waiting_list"
}

finish() {
  unguard "$slug"
  printf '{"result":"%s","release":"%s","milliseconds":%d,"switchMilliseconds":%d,"waiting":[%s]}\n' "$result" "$release" "$(($(now) - started))" \
    "${switched:-0}" "$(waiting)"
}
