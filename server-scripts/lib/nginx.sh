# shellcheck shell=sh
# nginx: what it is told, and whether it has taken it. Every call runs as user nginx (chillbox-as-nginx says why).
# shellcheck disable=SC2154  # RUN, SITES, SCRIPTS come from chillbox.sh

NGINX_CONF=$ROOT/etc/nginx/nginx.conf
NGINX_RUN=$RUN/nginx
INCLUDE_SITES="include $SITES/*/current/nginx/*.conf;"

# Where nginx writes, root neither writes nor follows names: its pid file has a folder of its own, and in the folder of logs it may add
# files but not take the place of a site's folder (that is what the sticky bit does).
make_nginx_places() {
  make_dir 750 root:nginx "$NGINX_RUN"
  make_dir 770 root:nginx "$NGINX_RUN/own"
  make_dir 1770 root:nginx "$ROOT/var/log/nginx"
}

# make_log_folder PATH: a site's folder in nginx's folder of logs, root's, in which nginx writes.
make_log_folder() {
  mkdir -m 770 "$1" 2>/dev/null || [ "$(stat -c %F "$1")" = directory ] || die "$1 is no folder: remove it"
  own root:nginx "$1"
  [ -n "$ROOT" ] || [ "$(stat -c %F:%U "$1")" = directory:root ] || die "$1 is no folder: remove it"
  chmod 770 "$1"
}

# make_rotation: the service that keeps nginx's logs small.
make_rotation() {
  put_service rotate "#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
cd /
exec env -i PATH=/usr/bin:/bin s6-setuidgid nginx $SCRIPTS/current/chillbox-rotate"
}

# add_nginx NAME CONFIGURATION: nginx as the service NAME (chillbox-nginx tells which). A server that runs may have an older one.
add_nginx() {
  mkdir -p "$SERVICES/$1"
  cat >"$SERVICES/$1/run.new" <<RUN
#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
cd /
umask 027
exec $SCRIPTS/current/chillbox-nginx $1 $2
RUN
  chmod 755 "$SERVICES/$1/run.new"
  # QUIT lets requests end; worker_shutdown_timeout bounds it.
  echo SIGQUIT >"$SERVICES/$1/down-signal"
  mv "$SERVICES/$1/run.new" "$SERVICES/$1/run"
}

# renew_nginx: another nginx takes over from the running one. A second one stands in meanwhile, on the same sockets; its pid file is its own.
renew_nginx() {
  add_nginx nginx "$NGINX_CONF"
  lock switch 120
  renew_old=$(s6-svstat -o pid "$TREE/nginx" 2>/dev/null || echo -1)
  sed 's|^pid .*|pid /run/chillbox/nginx/own/next-pid;|' "$NGINX_CONF" | put_file 640 root:nginx "$NGINX_RUN/next.conf" || true
  add_nginx nginx-next "$NGINX_RUN/next.conf"
  link_service nginx-next
  renew_code=0
  if works nginx-next; then
    step 'start nginx anew'
    s6-svc -r "$TREE/nginx"
    works nginx "$renew_old" || renew_code=1
  else
    renew_code=1
  fi
  # Where it did not come up, the one beside it goes on with its visitors.
  if [ "$renew_code" = 0 ] || is_up nginx; then drop_service nginx-next; fi
  unlock switch
  [ "$renew_code" = 0 ] || log "nginx does not start anew: see /var/log/chillbox/current"
  return "$renew_code"
}

# works SERVICE [PID]: waits until this nginx, which is another process than PID, has workers.
works() {
  works_until=$(($(date +%s) + 30))
  while [ "$(date +%s)" -lt "$works_until" ]; do
    works_pid=$(s6-svstat -o pid "$TREE/$1" 2>/dev/null || echo -1)
    if [ "$works_pid" -gt 0 ] && [ "$works_pid" != "${2-}" ] && pgrep -P "$works_pid" >/dev/null; then return 0; fi
    sleep 0.1
  done
  return 1
}

as_nginx() { (cd / && umask 027 && "$SCRIPTS/current/chillbox-as-nginx" "$@"); }

# check_nginx SLUG RELEASE_FOLDER: nginx -t on everything that runs, with this release in the place of the site's current one. Returns 1 with
# nginx's words when it is refused. Nothing happens when nginx runs with the very same, or was asked about it already.
check_nginx() {
  check_text=$(check_text "$1" "$2")
  if [ "$check_text" = "${checked_text-}" ]; then return 0; fi
  if [ "$check_text" = "$(check_text "$1" "$SITES/$1/current")" ]; then
    checked_text=$check_text
    return 0
  fi
  check_conf=$NGINX_RUN/check.$1.conf
  {
    for check_site in "$SITES"/*; do
      if [ "$check_site" != "$SITES/$1" ] && [ -d "$check_site/current/nginx" ]; then echo "include $check_site/current/nginx/*.conf;"; fi
    done
    echo "include $2/nginx/*.conf;"
  } >"$WORK/includes"
  awk -v marker="$INCLUDE_SITES" -v file="$WORK/includes" \
    'index($0, marker) { while ((getline line < file) > 0) print "  " line; next } { print }' "$NGINX_CONF" |
    (umask 027 && cat >"$check_conf")
  own root:nginx "$check_conf"
  check_code=0
  as_nginx nginx -t -q -e stderr -c "$check_conf" >"$WORK/nginx-check" 2>&1 || check_code=$?
  rm -f "$check_conf"
  if [ "$check_code" != 0 ]; then
    log "fatal: nginx refuses the site's configuration: $(grep -v 'test failed$' "$WORK/nginx-check" | head -n 3)"
    return 1
  fi
  checked_text=$check_text
}

# check_text SLUG RELEASE_FOLDER: a digest of what nginx would read with this release.
check_text() {
  check_site=$SITES/$1
  set -- "$2"/nginx/*.conf "$NGINX_CONF" "$ROOT"/etc/nginx/conf.d/*.include "$STATE"/certs/*/current/http.conf
  for check_path in "$SITES"/*/current/nginx/*.conf; do
    case $check_path in "$check_site"/*) ;; *) set -- "$@" "$check_path" ;; esac
  done
  cat "$@" 2>/dev/null | sha256sum
}

# A name for all that nginx is to run with: 12 hex digits.
nginx_generation() {
  nginx_generation_digest=$(cat "$NGINX_CONF" "$SITES"/*/current/nginx/*.conf "$ROOT"/etc/nginx/conf.d/*.include \
    "$STATE"/certs/*/current/http.conf 2>/dev/null | sha256sum)
  printf '%.12s\n' "$nginx_generation_digest"
}

write_generation() {
  echo "add_header X-Chillbox-Generation $1 always;" | put_file 640 root:nginx "$NGINX_RUN/generation.conf" || true
}

# Makes nginx take what lies in $SITES and waits until it answers with it. Does nothing when it already does.
apply_nginx() {
  apply_generation=$(nginx_generation)
  if [ "$(served_generation)" = "$apply_generation" ]; then return 0; fi
  write_generation "$apply_generation"
  if ! as_nginx nginx -t -q -e stderr -c "$NGINX_CONF" >"$RUN/nginx-apply" 2>&1; then
    log "nginx refuses the configuration: $(head -n 3 "$RUN/nginx-apply")"
    return 1
  fi
  link_service nginx
  apply_workers=$(pgrep -P "$(s6-svstat -o pid "$TREE/nginx")" || true)
  s6-svc -h "$TREE/nginx"
  apply_until=$(($(date +%s) + 15))
  until [ "$(served_generation)" = "$apply_generation" ] && ! do_accept "$apply_workers"; do
    if [ "$(date +%s)" -ge "$apply_until" ]; then
      log "nginx did not take its new configuration within 15 s; see /var/log/nginx/error.log"
      return 1
    fi
    sleep 0.05
  done
}

# do_accept PIDS: whether one of these workers still takes visitors. For a moment the old ones do so beside the new ones.
do_accept() {
  for do_accept_pid in $1; do
    if [ -e "/proc/$do_accept_pid" ] && ! grep -qs 'shutting down' "/proc/$do_accept_pid/cmdline"; then return 0; fi
  done
  return 1
}

# The generation that the server for unknown names answers with; empty while nginx is down.
served_generation() {
  curl --silent --noproxy '*' --max-time 2 --header 'Host: generation.invalid' --output /dev/null --dump-header - http://127.0.0.1/ |
    sed -n 's/^[Xx]-[Cc]hillbox-[Gg]eneration: \([0-9a-f]*\).*/\1/p' || true
}

# answers NAME [error]: whether a visitor who asks for this name gets an answer of its site: not the one for unknown names, and 5xx only with
# "error". Asked by https where port 80 only sends there; whether the certificate is good is another question.
answers() {
  answers_scheme=http
  if cat "$STATE"/certs/*/current/names 2>/dev/null | grep -Fqx -- "$1"; then answers_scheme=https; fi
  answers_code=$(curl --silent --noproxy '*' --max-time 5 --insecure --connect-to "$1::127.0.0.1:" --output /dev/null \
    --dump-header "$WORK/answer" --write-out '%{http_code}' "$answers_scheme://$1/" || true)
  case ${2-}$answers_code in
  [1234]?? | error[12345]??) ! grep -qi '^x-chillbox-generation:' "$WORK/answer" ;;
  *) return 1 ;;
  esac
}
