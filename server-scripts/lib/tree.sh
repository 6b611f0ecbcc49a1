# shellcheck shell=sh
# The tree of supervised services: one s6-svscan over $RUN/scan; the service folders themselves are copies in $RUN/services.
# Names: fdholder, nginx, log+NAME, and <slug>.<service>@<release> (a slug has no dot or plus, so none can be another's).
# shellcheck disable=SC2154  # RUN, SITES, SCRIPTS come from chillbox.sh

TREE=$RUN/scan
SERVICES=$RUN/services
HOLDER=$RUN/fdholder/socket
# shellcheck disable=SC2034  # chillbox-site-install waits so long for a candidate
READY_MS=30000
DRAIN_MS=45000

need_tree() { s6-svok "$TREE/fdholder" 2>/dev/null || die "the services of this server are not running: doas rc-service chillbox start"; }

is_up() { [ "$(s6-svstat -o up "$TREE/$1" 2>/dev/null)" = true ]; }
is_ready() { [ "$(s6-svstat -o ready "$TREE/$1" 2>/dev/null)" = true ]; }

# Links a service that lies in $SERVICES into the tree, and starts it.
link_service() {
  if ! s6-svok "$TREE/$1" 2>/dev/null; then s6-svlink -t 10000 "$TREE" "$SERVICES/$1" || die "s6 does not supervise $1"; fi
  is_up "$1" || s6-svc -u "$TREE/$1"
}

# Lets a service end what it is doing, then forgets it. Nothing happens when there is none.
drop_service() {
  if [ -e "$TREE/$1" ]; then
    s6-svc -wD -T "$DRAIN_MS" -d "$TREE/$1" 2>/dev/null || s6-svc -dk "$TREE/$1" 2>/dev/null || true
    s6-svunlink -t 10000 "$TREE" "$1" || log "warning: $1 is slow to go"
  fi
  rm -rf "${SERVICES:?}/$1"
}

# add_logger NAME FOLDER: what services write to the fifo $RUN/log/NAME goes to FOLDER/current, rotated.
add_logger() {
  make_dir 750 root:root "$2"
  [ -p "$RUN/log/$1" ] || mkfifo "$RUN/log/$1"
  if [ ! -e "$SERVICES/log+$1" ]; then
    # A run that was killed here left its half.
    rm -rf "${SERVICES:?}/log+$1.new"
    mkdir "$SERVICES/log+$1.new"
    cat >"$SERVICES/log+$1.new/run" <<RUN
#!/bin/sh
exec s6-log -b n5 s1000000 T "$2" 0<>"$RUN/log/$1"
RUN
    chmod 755 "$SERVICES/log+$1.new/run"
    mv "$SERVICES/log+$1.new" "$SERVICES/log+$1"
  fi
}

# The services of a site's release: lines of their names. Nothing for a site without any.
services_of() {
  if [ -d "$1/services" ]; then ls "$1/services"; fi
}

current_of() { readlink "$SITES/$1/current" 2>/dev/null | sed 's|^releases/||' || true; }

# What is in the tree or left in $SERVICES of a site: lines of <service>@<release>.
running_of() {
  for running_of_path in "$SERVICES/$1".*; do
    [ -d "$running_of_path" ] || continue
    case $running_of_path in *.new) rm -rf "$running_of_path" ;; *) echo "${running_of_path#"$SERVICES/$1".}" ;; esac
  done
}

# copy_service SLUG RELEASE SERVICE [trial]: the service's folder, ready to be linked; its logger runs.
copy_service() {
  copy_name=$1.$3@$2
  add_logger "$1.$3" "$ROOT/var/log/$1-$3"
  link_service "log+$1.$3"
  [ ! -e "$SERVICES/$copy_name" ] || return 0
  rm -rf "${SERVICES:?}/$copy_name.new"
  cp -R "$SITES/$1/releases/$2/services/$3" "$SERVICES/$copy_name.new"
  [ -z "${4-}" ] || : >"$SERVICES/$copy_name.new/data/trial"
  chmod -R go=rX "$SERVICES/$copy_name.new"
  mv "$SERVICES/$copy_name.new" "$SERVICES/$copy_name"
}

# listen_for SLUG RELEASE SERVICE: its port is held before any code of the site runs.
listen_for() {
  read -r listen_name listen_host listen_port <"$SITES/$1/releases/$2/services/$3/data/socket"
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
    s6-svc -wD -T "$DRAIN_MS" -d "$TREE/$free_port_name" || s6-svc -dk "$TREE/$free_port_name" || true
    free_port_code=0
  done
  return "$free_port_code"
}

# release_sockets SLUG: gives back the site's sockets that no running service of it uses any more.
release_sockets() {
  s6-fdholder-list "$HOLDER" | grep "^$1\\." | while read -r held; do
    cat "$SERVICES/$1".*/data/socket 2>/dev/null | cut -d ' ' -f 1 | grep -Fqx "$held" || s6-fdholder-delete "$HOLDER" "$held"
  done
}

# settle_site SLUG: the tree runs exactly the services of the site's current release, and nothing waits on trial.
settle_site() {
  settle_release=$(current_of "$1")
  if [ -n "$settle_release" ]; then
    for settle_service in $(services_of "$SITES/$1/releases/$settle_release"); do
      listen_for "$1" "$settle_release" "$settle_service"
      copy_service "$1" "$settle_release" "$settle_service"
      rm -f "$SERVICES/$1.$settle_service@$settle_release/data/trial"
      link_service "$1.$settle_service@$settle_release"
    done
  fi
  for settle_name in $(running_of "$1"); do
    if [ "${settle_name#*@}" != "$settle_release" ]; then drop_service "$1.$settle_name"; fi
  done
  release_sockets "$1"
}
