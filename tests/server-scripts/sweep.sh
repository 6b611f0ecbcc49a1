#!/bin/sh
# Runs on a test server, as root: starts a command, kills it, and prints what the site is then; runs the command again, and prints what it is
# then. All in one go, so that a sweep of many kills does not wait for ssh.
#
# Usage: sweep SLUG COMMAND step NAME|after SECONDS all|one <input of the command
#   step: the command is stopped where it begins this step, and killed there; after: killed so many seconds after its start
#   all: the command and all that it started; one: the command alone, what it had started goes on
#
# Prints a line of JSON: {"killed": whether it had not ended before, "step": the last one begun, "first": what the site is after the kill,
# "result": what the second run prints, "errors": what it says, "second": what the site is then}

slug=$1 command=$2 how=$3 when=$4 whom=$5
home=/run/chillbox-sweep
site=/var/lib/chillbox/sites/$slug

# One word for what visitors, link and processes say of the release, or all of what they say when it is not the same.
is() {
  page=$(ask /) nginx=$(ask /nginx) version=$(cat "/srv/chillbox/$slug/version.txt" 2>/dev/null)
  services=$(for _ in 1 2 3 4; do ask /api/; done | sort -u | tr '\n' ' ')
  current=$(readlink "$site/current" | sed 's|releases/||; s|+[0-9a-f]*$||')
  running=$(running | sort -u | tr '\n' ' ')
  sockets=$(s6-fdholder-list /run/chillbox/fdholder/socket | grep -c "^$slug\\.")
  case $current in
  '') [ "$page $nginx ${services% } $version $running $sockets" = '404 404 404   0' ] && echo none && return ;;
  *) [ "$page $nginx ${services% } $version ${running% } $sockets" = "$current $current $current $current $current 1" ] && echo "$current" && return ;;
  esac
  echo "current $current, page $page, nginx $nginx, service $services, version $version, running $running, sockets $sockets"
}

# What runs: the version of each unit; those that go on from release to release have none.
running() {
  for path in /run/chillbox/scan/"$slug".*; do
    [ -e "$path" ] || continue
    if [ "$(s6-svstat -o ready "$path")" != true ] || [ -e "$path/data/trial" ]; then echo "not ready: $path"; fi
    case $path in *+*) echo "${path##*@}" | sed 's|+[0-9a-f]*$||' ;; *) echo "$current" ;; esac
  done
  for unit in api _cron _redis; do
    [ -z "$current" ] || ls -d /run/chillbox/scan/"$slug.$unit@"* >/dev/null 2>&1 || echo "no $unit"
  done
}

ask() {
  curl --silent --max-time 5 --header "Host: $slug.test" --output "$home/answer" --write-out '%{http_code}' "http://127.0.0.1$1" >"$home/code"
  if [ "$(cat "$home/code")" = 200 ]; then cat "$home/answer"; else cat "$home/code" && echo; fi
}

# What it is within ten seconds, or what it still is after them.
settled() {
  until_s=$(($(date +%s) + 10))
  while :; do
    now=$(is)
    case $now in current*) [ "$(date +%s)" -lt $until_s ] || break ;; *) break ;; esac
    sleep 0.1
  done
  echo "$now"
}

umask 077
mkdir -p "$home"
cat >"$home/input"
[ "$how" != step ] || echo "$when" >/run/chillbox/stop-at
setsid "chillbox-site-$command" <"$home/input" >"$home/out" 2>"$home/errors" &
pid=$!
if [ "$how" = step ]; then
  until grep -qs '^State:.T' "/proc/$pid/status" || [ ! -e "/proc/$pid" ]; do sleep 0.02; done
else
  sleep "$when"
fi
if [ "$whom" = all ]; then kill -KILL -- "-$pid" 2>/dev/null; else kill -KILL "$pid" 2>/dev/null; fi
killed=false
wait "$pid" 2>/dev/null || [ $? != 137 ] || killed=true
rm -f /run/chillbox/stop-at
step=$(sed -n 's/.*: step: //p' "$home/errors" | tail -n 1)
first=$(settled)
"chillbox-site-$command" <"$home/input" >"$home/out" 2>"$home/errors"
second=$(settled)
jq -cn --argjson killed "$killed" --arg step "${step:-the beginning}" --arg first "$first" --arg second "$second" \
  --rawfile out "$home/out" --rawfile errors "$home/errors" \
  '{killed: $killed, step: $step, first: $first, second: $second, result: ($out | fromjson? // {} | .result), errors: $errors}'
rm -r "$home"
