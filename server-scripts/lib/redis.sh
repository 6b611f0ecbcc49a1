# shellcheck shell=sh
# A site's own Redis: its user, its folder, and whether it takes its configuration. manifest/redis.py tells how it runs.
# Whoever loads it has set slug, release, target and $WORK.
# shellcheck disable=SC2154  # those, and the paths of chillbox.sh

# Users of Redis have the ids of their sites' users and so much.
REDIS_UIDS=1000

# A user of its own, whose name no slug can be: what the site may do to its Redis ends at the files of that Redis.
make_redis_places() {
  lock switch 120
  redis_user=_$slug redis_id=$(($(id -u "$slug") + REDIS_UIDS))
  # A run that was killed here left the group alone.
  case $(account_of group "$redis_user" "$redis_id") in
  none) addgroup -g "$redis_id" "$redis_user" ;;
  other) die "$redis_user or the id $redis_id, for the Redis of $slug, is another group's already" ;;
  esac
  case $(account_of passwd "$redis_user" "$redis_id") in
  none) adduser -D -H -h /var/empty -s /sbin/nologin -g "Redis of site $slug" -G "$redis_user" -u "$redis_id" "$redis_user" ;;
  other) die "$redis_user or the id $redis_id, for the Redis of $slug, is another user's already" ;;
  esac
  unlock switch
  make_dir 700 "$redis_user:$redis_user" "$ROOT/var/lib/$slug/_redis"
}

# account_of FILE NAME ID: own (this name has this id), other (one of them is taken), or none.
account_of() {
  awk -F : -v name="$2" -v id="$3" '$1 == name && $3 == id { own = 1 } ($1 == name) != ($3 == id) { other = 1 }
    END { print other ? "other" : own ? "own" : "none" }' "$ROOT/etc/$1"
}

# check_redis: a Redis that is to be replaced shows on an empty folder that it takes its configuration, while the running one goes on.
# Returns 1 with Redis's words when it does not.
check_redis() {
  redis_unit=$target/services/_redis
  [ -d "$redis_unit" ] || return 0
  ! is_up "$(running_name "$slug" "$release" _redis)" || return 0
  redis_trial=$RUN/redis.$slug
  remove_folder "_$slug" "$redis_trial"
  make_dir 700 "_$slug:_$slug" "$redis_trial"
  try_redis >"$WORK/redis.log" 2>&1 &
  redis_pid=$!
  redis_code=1 redis_until=$(($(date +%s) + 20))
  while kill -0 "$redis_pid" 2>/dev/null && [ "$(date +%s)" -lt "$redis_until" ]; do
    if redis_answers; then
      redis_code=0
      break
    fi
    sleep 0.05
  done
  kill "$redis_pid" 2>/dev/null || true
  wait "$redis_pid" 2>/dev/null || true
  remove_folder "_$slug" "$redis_trial"
  if [ "$redis_code" != 0 ]; then log "fatal: Redis refuses what \"redis\" of the site file or $slug/redis/users.acl of the release says: $(redis_words)"; fi
  return "$redis_code"
}

try_redis() {
  read -r redis_server redis_client <"$redis_unit/data/programs"
  cd /
  set -- "$redis_unit/data/private/redis.conf"
  [ ! -e "${1%/*}/users.acl" ] || set -- "$@" --aclfile "${1%/*}/users.acl"
  exec env -i PATH=/usr/bin:/bin timeout 30 "$SCRIPTS/current/chillbox-confine" --no-network "_$slug" "$redis_server" "$@" \
    --dir "$redis_trial" --unixsocket "$redis_trial/sock" --save '' --appendonly no --shutdown-on-sigterm nosave </dev/null 8>&- 9>&-
}

redis_answers() {
  read -r redis_server redis_client <"$redis_unit/data/programs"
  [ -S "$redis_trial/sock" ] && "$redis_client" -s "$redis_trial/sock" ping 2>/dev/null | grep -q '^PONG\|^NOAUTH\|^NOPERM'
}

# What it said, without its greetings, its process and the time, and the folder of its files.
redis_words() {
  sed -e 's/^[0-9]*:[A-Z] [0-9]* [A-Z][a-z]* [0-9]* [0-9:.]* \([^ ]\) /\1 /' -e "s|$redis_unit/data/private/||g" \
    -e 's/^# Unresolved Configuration.*/no such directive:/' -e 's/^# >>>/>>>/' "$WORK/redis.log" |
    grep -v '^\*\|^$\|overcommit\|^Reading the configuration\|^# Module Configuration' | tail -n 8
}
