# shellcheck shell=sh
# The tree of supervised services: one s6-svscan over $RUN/scan; the service folders themselves are copies in $RUN/services.
# Names: fdholder, nginx, log+NAME, and <slug>.<unit>@<instance>[_<mark of its secrets>][+<how often it was renewed>] (a slug has no dot or plus, so none can
# be another's). What a unit is
# tells manifest/unit.py.
# shellcheck disable=SC2154  # RUN, SITES, SCRIPTS come from chillbox.sh

TREE=$RUN/scan
SERVICES=$RUN/services
HOLDER=$RUN/fdholder/socket
# What is open of sites' secrets, and what was open before, while new ones are tried.
SECRETS=$ROOT/run/tmp/chillbox_secrets
SECRETS_UNDO=$ROOT/run/tmp/chillbox_undo
READY_MS=30000
DRAIN_MS=45000

need_tree() { s6-svok "$TREE/fdholder" 2>/dev/null || die "the services of this server are not running: doas rc-service chillbox start"; }

is_up() { [ "$(s6-svstat -o up "$TREE/$1" 2>/dev/null)" = true ]; }

# Who cannot say that it is ready is so when it runs.
is_ready() {
  if [ -e "$SERVICES/$1/notification-fd" ]; then [ "$(s6-svstat -o ready "$TREE/$1" 2>/dev/null)" = true ]; else is_up "$1"; fi
}

# Links a service that lies in $SERVICES into the tree, and starts it.
link_service() {
  if [ -e "$SERVICES/$1/data/zygote-python" ]; then
    read -r link_service_python <"$SERVICES/$1/data/zygote-python"
    start_zygote "$link_service_python"
  fi
  link_service_up=none
  if [ -e "$TREE/$1" ]; then link_service_up=$(s6-svstat -o up "$TREE/$1" 2>/dev/null || echo none); fi
  # What is new in the tree starts by itself.
  case $link_service_up in
  none) s6-svlink -t 10000 "$TREE" "$SERVICES/$1" || s6-svok "$TREE/$1" || die "s6 does not supervise $1" ;;
  false) s6-svc -u "$TREE/$1" ;;
  esac
}

# put_service NAME RUN [FINISH]: a service's folder with these scripts; it is linked by link_service. Nothing happens when it is there. No program
# but mkdir, chmod and mv is started: every switch comes here.
put_service() {
  [ ! -e "$SERVICES/$1" ] || return 0
  # A run that was killed here left its half.
  if [ -e "$SERVICES/$1.new" ]; then rm -rf "${SERVICES:?}/$1.new"; fi
  mkdir "$SERVICES/$1.new"
  printf '%s\n' "$2" >"$SERVICES/$1.new/run"
  if [ -n "${3-}" ]; then printf '%s\n' "$3" >"$SERVICES/$1.new/finish"; fi
  chmod 755 "$SERVICES/$1.new"/*
  mv "$SERVICES/$1.new" "$SERVICES/$1"
}

# start_zygote PYTHON[+NUMBER]: the process that forks services with these packages (python/zygote.py): one for each set that chillbox has
# carried here and a service still uses, and another after an update of Python. Without it, a service runs on its own.
start_zygote() {
  if [ ! -e "$SERVICES/zygote@$1" ]; then
    # Two installs may be the first at once.
    start_zygote_new=$SERVICES/zygote@$1.$$.new
    mkdir "$start_zygote_new"
    echo 3 >"$start_zygote_new/notification-fd"
    cat >"$start_zygote_new/run" <<RUN
#!/bin/sh -e
exec </dev/null 1<>$RUN/log/tree 2>&1
cd /
mkdir -p -m 700 $RUN/zygote $RUN/zygote/$1
exec env -i PATH=/usr/bin:/bin LANG=C.UTF-8 PYTHONUNBUFFERED=1 \\
  python3 -IS $SCRIPTS/current/python/zygote.py $STATE/python/${1%%+*} $RUN/zygote/$1/socket 3
RUN
    chmod 755 "$start_zygote_new/run"
    mv -T "$start_zygote_new" "$SERVICES/zygote@$1" 2>/dev/null || rm -rf "$start_zygote_new"
  fi
  if is_up "zygote@$1"; then return 0; fi
  link_service "zygote@$1"
  s6-svwait -U -t 10000 "$TREE/zygote@$1" 2>/dev/null || log "warning: the zygote does not start; see /var/log/chillbox/current"
}

# Those whose packages no service uses any more go.
drop_zygotes() {
  for drop_zygotes_path in "$SERVICES"/zygote@*; do
    case $drop_zygotes_path in *'@*' | *.new) continue ;; esac
    cat "$SERVICES"/*/data/zygote-python 2>/dev/null | grep -Fqx "${drop_zygotes_path##*@}" || drop_service "${drop_zygotes_path##*/}"
  done
}

# Lets services end what they are doing, all at once; they stay in the tree. Each is asked but once: a second SIGTERM ends some at once.
stop_service() {
  for stop_name; do s6-svc -d "$TREE/$stop_name" 2>/dev/null || true; done
  for stop_name; do s6-svwait -D -t "$DRAIN_MS" "$TREE/$stop_name" 2>/dev/null || s6-svc -dk "$TREE/$stop_name" 2>/dev/null || true; done
}

# Lets a service end what it is doing, then forgets it. Nothing happens when there is none.
drop_service() {
  if [ -e "$TREE/$1" ]; then
    stop_service "$1"
    s6-svunlink -t 10000 "$TREE" "$1" || log "warning: $1 is slow to go"
  fi
  case $1 in log+*) "$SCRIPTS/current/chillbox-limit" --end "$1" ;; esac
  rm -rf "${SERVICES:?}/$1"
}

# add_logger NAME FOLDER: what services write to the fifo $RUN/log/NAME goes to FOLDER/current, rotated. FOLDER/owner says whose it is: by
# names alone, "a-b" could be of the site "a" or of "a-b".
add_logger() {
  make_dir 750 root:root "$2"
  add_logger_owner=
  [ ! -e "$2/owner" ] || read -r add_logger_owner <"$2/owner" || true
  [ "$add_logger_owner" = "${1%%.*}" ] || echo "${1%%.*}" >"$2/owner"
  [ -p "$RUN/log/$1" ] || mkfifo "$RUN/log/$1"
  # A flood of lines costs the sites' share of the processors, not the host's.
  add_logger_limit="$SCRIPTS/current/chillbox-limit \"\${PWD##*/}\""
  [ "$1" != tree ] || add_logger_limit=
  put_service "log+$1" "#!/bin/sh
$add_logger_limit
exec s6-log -b n5 s1000000 T \"$2\" 0<>\"$RUN/log/$1\""
}

# add_watch NAME: chillbox-NAME watch as a service; it stays the same for all versions of the scripts.
add_watch() {
  put_service "$1" "#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
cd /
exec $SCRIPTS/current/chillbox-$1 watch"
}

# units_of RELEASE_FOLDER [GROUP]: lines of the names of those that can run. GROUP: first (started before the others), overlapping (runs beside its
# predecessor), exclusive (cannot), awaited (cannot either, and visitors wait in its socket's queue meanwhile).
units_of() {
  for units_of_path in "$1"/services/*; do
    if [ ! -d "$units_of_path" ] || lacks_secrets "$units_of_path"; then continue; fi
    if [ -z "${2-}" ] || [ "$(group_of "$units_of_path")" = "$2" ]; then echo "${units_of_path##*/}"; fi
  done
}

# all_units_of RELEASE_FOLDER: those that wait for their secrets included.
all_units_of() {
  for units_of_path in "$1"/services/*; do
    if [ -d "$units_of_path" ]; then echo "${units_of_path##*/}"; fi
  done
}

# lacks_secrets FOLDER: whether a unit of a release waits for secrets that are not open on this server. It is not started, and nobody
# misses it.
lacks_secrets() { [ -e "$1/data/secrets" ] && [ -z "$(secrets_mark "$1")" ]; }

# secrets_mark FOLDER: of the secrets file that a unit of a release reads: another file has another mark. Nothing without one. It tells
# nothing of the content.
secrets_mark() {
  [ -e "$1/data/secrets" ] || return 0
  read -r secrets_mark_path <"$1/data/secrets"
  stat -c '_%Y-%i' "$ROOT$secrets_mark_path" 2>/dev/null || true
}

# undo_secrets SLUG: new secrets whose services did not get ready with them, or whose command was killed before it knew, make way for those
# from before: their very files, so that what runs with them goes on. An empty folder stands for none.
undo_secrets() {
  [ -d "$SECRETS_UNDO/$1" ] || return 0
  for undo_path in "$SECRETS_UNDO/$1"/*; do
    undo_name=${undo_path##*/}
    undo_file=$SECRETS/$1/${undo_name%%:*}/${undo_name#*:}
    if [ -d "$undo_path" ]; then rm -f "$undo_file"; elif [ -e "$undo_path" ]; then mv -T "$undo_path" "$undo_file"; fi
  done
  rm -rf "${SECRETS_UNDO:?}/$1"
}

# group_of FOLDER: of a unit's folder, in a release or running.
group_of() {
  if [ -e "$1/data/first" ]; then
    echo first
  elif [ ! -e "$1/data/exclusive" ]; then
    echo overlapping
  elif [ -e "$1/data/socket" ]; then
    echo awaited
  else
    echo exclusive
  fi
}

# names_of MANIFEST: the names of a site's services and workers, a line each. All of them have a folder and a virtual environment.
names_of() { jq -r '.services[].name' "$1"; }

# running_name SLUG RELEASE UNIT: what the running copy of a release's unit is called. With other secrets it is another one, and after an update
# of the system that it had to be started anew for (chillbox-renew).
running_name() {
  running_name_folder=$SITES/$1/releases/$2/services/$3
  read -r running_name_instance <"$running_name_folder/data/instance"
  running_name_renewed=
  [ ! -e "$RUN/renewed/$1/$3" ] || read -r running_name_renewed <"$RUN/renewed/$1/$3" || true
  echo "$1.$3@$running_name_instance$(secrets_mark "$running_name_folder")$running_name_renewed"
}

# running_names SLUG RELEASE [GROUP]: those of all its units.
running_names() {
  for running_names_unit in $(units_of "$SITES/$1/releases/$2" "${3-}"); do running_name "$1" "$2" "$running_names_unit"; done
}

current_of() {
  [ -L "$SITES/$1/current" ] || return 0
  current_of_link=$(readlink "$SITES/$1/current" || true)
  echo "${current_of_link#releases/}"
}

# What is in the tree or left in $SERVICES of a site: lines of <slug>.<unit>@<instance>.
running_of() {
  for running_of_path in "$SERVICES/$1".*; do
    [ -d "$running_of_path" ] || continue
    case $running_of_path in *.new) rm -rf "$running_of_path" ;; *) echo "${running_of_path##*/}" ;; esac
  done
}

# copy_unit SLUG RELEASE UNIT [trial]: the unit's folder, ready to be linked; its logger runs.
copy_unit() {
  copy_from=$SITES/$1/releases/$2/services/$3
  copy_name=$(running_name "$1" "$2" "$3")
  read -r copy_log <"$copy_from/data/log"
  add_logger "$1.$copy_log" "$ROOT/var/log/$1-$copy_log"
  link_service "log+$1.$copy_log"
  [ ! -e "$SERVICES/$copy_name" ] || return 0
  if [ -e "$SERVICES/$copy_name.new" ]; then rm -rf "${SERVICES:?}/$copy_name.new"; fi
  # With owners and modes, since data/private is for the unit's own user alone.
  cp -Rp "$copy_from" "$SERVICES/$copy_name.new"
  [ -z "${4-}" ] || : >"$SERVICES/$copy_name.new/data/trial"
  if [ -e "$RUN/renewed/_zygote" ] && [ -e "$copy_from/data/zygote-python" ]; then
    read -r copy_python <"$copy_from/data/zygote-python"
    read -r copy_renewed <"$RUN/renewed/_zygote"
    echo "$copy_python$copy_renewed" >"$SERVICES/$copy_name.new/data/zygote-python"
  fi
  mv "$SERVICES/$copy_name.new" "$SERVICES/$copy_name"
}

# listen_for SLUG RELEASE UNIT: its port, if it has one, is held before any code of the site runs.
listen_for() {
  listen_socket=$SITES/$1/releases/$2/services/$3/data/socket
  [ -e "$listen_socket" ] || return 0
  read -r listen_name listen_host listen_port <"$listen_socket"
  # Held already, as it nearly always is: no need to start Python for that.
  if is_among "$listen_name" "$(s6-fdholder-list "$HOLDER")"; then return 0; fi
  if "$SCRIPTS/current/chillbox-listen" "$listen_name" "$listen_host" "$listen_port" </dev/null; then return 0; fi
  free_port "$1" "$listen_name" || return 1
  "$SCRIPTS/current/chillbox-listen" "$listen_name" "$listen_host" "$listen_port" </dev/null
}

# free_port SLUG SOCKET: ends the site's own services that hold a socket which the holder has not: one that was started anew has lost
# them all. Whoever settles the site starts them again. Returns 1 when none of them has it.
free_port() {
  free_port_code=1
  for free_port_path in "$SERVICES/$1".*; do
    free_port_name=${free_port_path##*/}
    if ! cut -d ' ' -f 1 "$free_port_path/data/socket" 2>/dev/null | grep -Fqx "$2" || ! is_up "$free_port_name"; then continue; fi
    log "warning: the socket holder has lost $2: $free_port_name is started anew, its visitors get the maintenance page for a moment"
    stop_service "$free_port_name"
    free_port_code=0
  done
  return "$free_port_code"
}

# release_sockets SLUG: gives back the site's sockets that no running service of it uses any more.
release_sockets() {
  for held in $(s6-fdholder-list "$HOLDER"); do
    case $held in "$1".*) is_used "$1" "$held" || s6-fdholder-delete "$HOLDER" "$held" ;; esac
  done
}

# is_used SLUG SOCKET
is_used() {
  for is_used_path in "$SERVICES/$1".*/data/socket; do
    [ -e "$is_used_path" ] || continue
    read -r is_used_name _ <"$is_used_path"
    if [ "$is_used_name" = "$2" ]; then return 0; fi
  done
  return 1
}

# settle_site SLUG: the tree runs exactly the units of the site's current release, and nothing waits on trial.
settle_site() {
  undo_secrets "$1"
  settle_release=$(current_of "$1")
  settle_wanted=
  if [ -n "$settle_release" ]; then settle_wanted=$(running_names "$1" "$settle_release"); fi
  settle_unwanted=
  for settle_name in $(running_of "$1"); do
    if is_among "$settle_name" "$settle_wanted" || [ "$(group_of "$SERVICES/$settle_name")" = overlapping ]; then continue; fi
    settle_unwanted="$settle_unwanted $settle_name"
  done
  # shellcheck disable=SC2086  # names are words
  stop_service $settle_unwanted
  for settle_name in $settle_unwanted; do drop_service "$settle_name"; done
  if [ -n "$settle_release" ]; then
    for settle_unit in $(units_of "$SITES/$1/releases/$settle_release" first); do
      settle_one "$1" "$settle_release" "$settle_unit"
      wait_ready "$(running_name "$1" "$settle_release" "$settle_unit")" 10000 || log "warning: $settle_unit of $1 is slow to start"
    done
    for settle_group in overlapping exclusive awaited; do
      for settle_unit in $(units_of "$SITES/$1/releases/$settle_release" "$settle_group"); do settle_one "$1" "$settle_release" "$settle_unit"; done
    done
  fi
  for settle_name in $(running_of "$1"); do
    is_among "$settle_name" "$settle_wanted" || drop_service "$settle_name"
  done
  release_sockets "$1"
  drop_loggers "$1"
}

# logs_of SLUG: the names of the logs that its units write to, a line each.
logs_of() {
  for logs_of_path in "$SERVICES/$1".*/data/log; do
    [ -e "$logs_of_path" ] || continue
    read -r logs_of_name <"$logs_of_path"
    echo "$logs_of_name"
  done
}

# drop_loggers SLUG: ends the site's loggers that no unit writes to any more.
drop_loggers() {
  drop_loggers_used=$(logs_of "$1")
  for drop_loggers_path in "$SERVICES/log+$1".*; do
    [ -d "$drop_loggers_path" ] || continue
    drop_loggers_name=${drop_loggers_path##*/log+}
    if is_among "${drop_loggers_name#"$1."}" "$drop_loggers_used"; then continue; fi
    drop_service "log+$drop_loggers_name"
    rm -f "$RUN/log/$drop_loggers_name"
  done
}

settle_one() {
  listen_for "$1" "$2" "$3"
  copy_unit "$1" "$2" "$3"
  settle_one_name=$(running_name "$1" "$2" "$3")
  if [ -e "$SERVICES/$settle_one_name/data/trial" ]; then rm -f "$SERVICES/$settle_one_name/data/trial"; fi
  link_service "$settle_one_name"
}

# is_among WORD LINES
is_among() {
  case "
$2
" in
  *"
$1
"*) return 0 ;;
  esac
  return 1
}

# wait_ready NAME [MILLISECONDS]: until it says so; who cannot say so must have stayed up for a second.
wait_ready() {
  wait_ready_ms=${2-$READY_MS}
  if [ $# = 1 ] && [ -e "$SERVICES/$1/data/ready-ms" ]; then read -r wait_ready_ms <"$SERVICES/$1/data/ready-ms"; fi
  if [ -e "$SERVICES/$1/notification-fd" ]; then
    s6-svwait -U -t "$wait_ready_ms" "$TREE/$1" 2>/dev/null && is_ready "$1"
    return
  fi
  wait_ready_until=$(($(date +%s) + wait_ready_ms / 1000))
  while [ "$(date +%s)" -le "$wait_ready_until" ]; do
    # Who is not wanted any more has failed for good.
    case $(s6-svstat -o up,updownfor,wantedup "$TREE/$1" 2>/dev/null || echo false) in
    'true 0 '* | 'false '*' true') sleep 0.1 ;;
    'true '*) return 0 ;;
    *) return 1 ;;
    esac
  done
  return 1
}
