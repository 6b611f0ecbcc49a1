# shellcheck shell=sh
# The Unix users of each site: <slug>, and _<slug> for its Redis. They have ranges of their own, so that rules can name all of them and
# nothing here ever ends or removes another.
# shellcheck disable=SC2154  # ROOT, SITES come from chillbox.sh; slug and site are set by whoever calls make_site

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

# The site's user and folder, whether its secrets come first or its release.
make_site() {
  check_names
  make_user
  make_dir 751 root:nginx "$SITES"
  make_dir 711 root:root "$site"
}

# check_names: on the first install nothing else may have the names that the site will have.
check_names() {
  [ ! -e "$site" ] || return 0
  for taken in "$ROOT/var/lib/$slug" "$ROOT/srv/$slug" "$ROOT/usr/local/src/$slug" "$ROOT/var/log/nginx/$slug"; do
    [ ! -e "$taken" ] || die "the slug $slug cannot be used, because $taken belongs to something else: name the site file otherwise"
  done
}

# A Unix user for each site.
make_user() {
  lock switch 120
  id=$(awk -F : -v name="$slug" '$1 == name { print $3 }' "$ROOT/etc/passwd")
  if [ -z "$id" ]; then
    id=$(awk -F : -v first=$UID_FIRST -v last=$UID_LAST '{ used[$3] = 1 } END { for (i = first; i <= last; i++) if (!(i in used)) { print i; exit } }' \
      "$ROOT/etc/passwd" "$ROOT/etc/group")
    [ -n "$id" ] || die "all user ids from $UID_FIRST to $UID_LAST are taken"
    # A run that was killed here left the group alone; a group of the system's (disk, shadow) opens more than a site may have.
    group=$(awk -F : -v name="$slug" '$1 == name { print $3 }' "$ROOT/etc/group")
    if [ -z "$group" ]; then
      addgroup -g "$id" "$slug"
    else
      { [ "$group" -ge $UID_FIRST ] && [ "$group" -le $UID_LAST ]; } ||
        die "the slug $slug is the name of a system group (id $group): name the site file otherwise"
    fi
    adduser -D -H -h /var/empty -s /sbin/nologin -g "chillbox site $slug" -G "$slug" -u "$id" "$slug"
  fi
  { [ "$id" -ge $UID_FIRST ] && [ "$id" -le $UID_LAST ]; } ||
    die "the slug $slug is the name of a system user (id $id): name the site file otherwise"
  unlock switch
}
