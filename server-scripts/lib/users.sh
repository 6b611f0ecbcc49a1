# shellcheck shell=sh
# The Unix users of each site: <slug>, and _<slug> for its Redis. They have ranges of their own, so that rules can name all of them and
# nothing here ever ends or removes another.
# shellcheck disable=SC2154,SC2034  # ROOT comes from chillbox.sh; UID_LAST is for the scripts

UID_FIRST=2000
UID_LAST=2999
# The ids of Redis's users follow.
UID_LAST_OF_ALL=3999

# id_in FILE NAME: the id of this user (passwd) or group (group), or nothing.
id_in() { awk -F : -v name="$2" '$1 == name { print $3 }' "$ROOT/etc/$1" 2>/dev/null; }

# names_in FILE SLUG: the site's users (passwd) or groups (group) that there are, a line each.
names_in() {
  for names_in_name in "$2" "_$2"; do
    names_in_id=$(id_in "$1" "$names_in_name")
    if [ -n "$names_in_id" ] && [ "$names_in_id" -ge "$UID_FIRST" ] && [ "$names_in_id" -le "$UID_LAST_OF_ALL" ]; then echo "$names_in_name"; fi
  done
}

# end_processes SLUG: ends whatever runs as the site's users, also what left its service's group. One call reaches all of a user, so that
# nothing of it can start another meanwhile.
end_processes() {
  [ -z "$ROOT" ] || return 0
  for end_user in $(names_in passwd "$1"); do
    end_count=0
    while has_processes "$(id_in passwd "$end_user")"; do
      [ "$end_count" -lt 100 ] || die "a process of $end_user does not end"
      s6-setuidgid "$end_user" sh -c 'kill -KILL -1' 2>/dev/null || true
      end_count=$((end_count + 1))
      sleep 0.1
    done
  done
}

# has_processes UID
has_processes() { cat /proc/[0-9]*/status 2>/dev/null | grep -Eq "^Uid:.*[[:space:]]$1([[:space:]]|\$)"; }
