# shellcheck shell=sh
# What every server script shares: paths, messages, locks, and writing files that last.
# A script loads it with:  command -v die >/dev/null || . "$(dirname "$(readlink -f "$0")")/lib/chillbox.sh"
# (the check lets enrol and others travel as one text, library first).

set -eu
umask 077

# ROOT is put before every path, so that tests need no root.
ROOT=${ROOT-}
# shellcheck disable=SC2034  # used by the scripts
{
  ETC=$ROOT/etc/chillbox
  STATE=$ROOT/var/lib/chillbox
  SITES=$ROOT/var/lib/chillbox/sites
  RUN=$ROOT/run/chillbox
  SCRIPTS=$ROOT/usr/local/lib/chillbox
}

# Nobody may be there to read it any more, which stops nothing.
log() { printf '%s: %s\n' "${0##*/}" "$*" >&2 || true; }

# step NAME: tells how far the command has come. Root can make it stop here, by the step's name in $RUN/stop-at: that is where tests kill it.
step() {
  log "step: $1"
  [ ! -e "$RUN/stop-at" ] || [ "$(cat "$RUN/stop-at")" != "$1" ] || kill -STOP $$
}

# Says what is wrong and ends the script. Exit 1.
die() {
  log "fatal: $*"
  exit 1
}

# Prints the comment at the head of this script, without the #.
help() { sed -n '2,/^$/s/^# \{0,1\}//p' "$0"; }

# For scripts without options: --help prints the head comment, anything else that starts with - is refused. Exit 0 or 2.
help_or_die() {
  case ${1-} in
  -h | --help)
    help
    exit 0
    ;;
  -*)
    log "fatal: unknown option $1; see ${0##*/} --help"
    exit 2
    ;;
  esac
}

need_cmd() {
  for need_cmd_name; do
    command -v "$need_cmd_name" >/dev/null || die "$need_cmd_name is missing on this server"
  done
}

need_root() {
  own_id=${own_id-$(id -u)}
  [ -n "$ROOT" ] || [ "$own_id" = 0 ] || die "this needs root: doas ${0##*/}"
}

# Owner and mode of something; owners only where they can be set.
own() {
  [ -z "$ROOT" ] || return 0
  own_id=${own_id-$(id -u)}
  [ "$own_id" != 0 ] || chown -h "$1" "$2"
}

# make_dir MODE OWNER PATH: a folder with exactly these, parents made 0755.
make_dir() {
  # As it nearly always is: there are many, and each program that need not start is a millisecond.
  if [ -d "$3" ] && [ "$(stat -c '%a %U:%G' "$3")" = "$1 $2" ]; then return 0; fi
  [ -d "${3%/*}" ] || (umask 022 && mkdir -p "${3%/*}")
  if [ ! -d "$3" ]; then
    mkdir -m "$1" "$3"
    if [ "$2" = root:root ]; then return 0; fi
  fi
  chmod "$1" "$3"
  own "$2" "$3"
}

# put_file MODE OWNER PATH: standard input becomes the file, whole or not at all, and lasts. Returns 1 when it already was the same.
put_file() {
  cat >"$3.new"
  chmod "$1" "$3.new"
  own "$2" "$3.new"
  if [ -e "$3" ] && cmp -s "$3.new" "$3" && [ "$(stat -c '%a %U:%G' "$3.new")" = "$(stat -c '%a %U:%G' "$3")" ]; then
    rm "$3.new"
    return 1
  fi
  fsync "$3.new"
  mv "$3.new" "$3"
  fsync "${3%/*}"
}

# put_link TARGET PATH: the link is there or is changed by one rename. Returns 1 when it already was the same.
put_link() {
  if [ -L "$2" ] && [ "$(readlink "$2")" = "$1" ]; then return 1; fi
  if [ -e "$2.new" ] || [ -L "$2.new" ]; then rm -rf "$2.new"; fi
  ln -s "$1" "$2.new"
  mv -T "$2.new" "$2"
  fsync "${2%/*}"
}

# lock NAME SECONDS: waits for the lock, which the kernel gives back when this script ends, however it ends. Nobody may hold it longer than
# this; where many wait, each in the line counts anew. Each name has a file descriptor of its own, so that a script may hold both.
lock() {
  [ -d "$RUN/lock" ] || mkdir -p "$RUN/lock"
  case $1 in
  switch) exec 8>>"$RUN/lock/$1" && lock_fd=8 ;;
  *) exec 9>>"$RUN/lock/$1" && lock_fd=9 ;;
  esac
  lock_holder=none lock_until=0
  until flock -n "$lock_fd"; do
    read -r lock_seen <"$RUN/lock/$1" || lock_seen='another chillbox command'
    if [ "$lock_seen" != "$lock_holder" ]; then lock_holder=$lock_seen lock_until=$(($(date +%s) + $2)); fi
    [ "$(date +%s)" -lt "$lock_until" ] || die "$lock_holder has held the lock '$1' for $2 s: wait for it to end, then try again"
    sleep 0.1
  done
  echo "${0##*/}${slug:+ of $slug} (process $$)" >"$RUN/lock/$1"
}

unlock() { case $1 in switch) exec 8>&- ;; *) exec 9>&- ;; esac }

# What this script and its programs do from here on waits for whoever else needs the processor. The kernel may count by sessions.
give_way() {
  renice -n 19 -p $$ >/dev/null 2>&1 || true
  echo 19 2>/dev/null >"/proc/$$/autogroup" || true
}

# A private folder on tmpfs, in $WORK_IN or $RUN, that goes away with the script; those of scripts that were killed go, too.
make_work() {
  make_work_in=${WORK_IN-$RUN}
  [ -d "$make_work_in" ] || mkdir -p "$make_work_in"
  for make_work_old in "$make_work_in"/work.*; do
    make_work_pid=${make_work_old#"$make_work_in/work."}
    if [ -e "$make_work_old" ] && [ ! -d "/proc/${make_work_pid%%.*}" ]; then rm -rf "$make_work_old"; fi
  done
  WORK=$(mktemp -d "$make_work_in/work.$$.XXXXXX")
  trap 'rm -rf "$WORK"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

# remove_folder SLUG PATH: removes it. What the site's user still owns it empties itself: root, walking there, could be led away by a link.
remove_folder() {
  [ -e "$2" ] || return 0
  if [ "$(stat -c %U "$2")" != root ]; then
    s6-setuidgid "$1" chmod -R u+rwX "$2" 2>/dev/null || true
    s6-setuidgid "$1" find "$2" -mindepth 1 -delete || true
    rmdir "$2" || die "$2 cannot be removed: a process of $1 still writes there"
    return 0
  fi
  rm -rf "$2"
}

sha256_of() {
  sha256_of_line=$(sha256sum "$1")
  echo "${sha256_of_line%% *}"
}

is_slug() {
  case $1 in
  '' | [!a-z]* | *[!a-z0-9-]*) return 1 ;;
  esac
  [ ${#1} -le 31 ]
}

is_service() {
  case $1 in
  '' | [!A-Za-z]* | *[!A-Za-z0-9_-]*) return 1 ;;
  esac
  [ ${#1} -le 31 ]
}

# read_slug: standard input, a JSON object, goes to $WORK/input.json; slug is its slug.
read_slug() {
  cat >"$WORK/input.json"
  slug=$(jq -er '.slug | strings' "$WORK/input.json" 2>/dev/null) || die "standard input has no slug"
  is_slug "$slug" || die "\"$slug\" is not a slug"
}
