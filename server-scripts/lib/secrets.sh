# shellcheck shell=sh
# Sites' secrets. What lasts is what was sealed: $SITES/<slug>/secrets/ has list.json, which says what there is, and each sealed file by its
# SHA-256. What is open lies on a tmpfs of its own: $SECRETS/<slug>/<service>/<file>. Of each open file root keeps a note in $RUN/opened/
# <slug>/<service>: "SEALED OPENED MARK", the two digests and the file's mark; without it, or with another mark, the file counts as locked.
# Whoever loads it has loaded tree.sh.
# shellcheck disable=SC2154  # RUN, SITES, SECRETS come from chillbox.sh and tree.sh

SERVER_KEYS=$ETC/server-key
SECRETS_MOUNT=$ROOT/run/tmp
SECRETS_WORK=$ROOT/run/tmp/chillbox_work
OPENED=$RUN/opened

# The tmpfs that nothing on it ever leaves for a disk, where the kernel can promise that (6.4 and newer).
mount_secrets() {
  (umask 022 && mkdir -p "$SECRETS_MOUNT")
  if [ -z "$ROOT" ] && ! mountpoint -q "$SECRETS_MOUNT"; then
    mount_options=nodev,nosuid,noexec,mode=755,size=64m,nr_inodes=16k
    if ! mount -t tmpfs -o "$mount_options,noswap" chillbox "$SECRETS_MOUNT" 2>/dev/null; then
      mount -t tmpfs -o "$mount_options" chillbox "$SECRETS_MOUNT" || die "there is no tmpfs for secrets"
      log "note: this kernel has no tmpfs without swap; with swap on a disk, secrets in memory could get there"
    fi
  fi
  make_dir 711 root:root "$SECRETS"
  make_dir 700 root:root "$SECRETS_WORK"
  make_dir 700 root:root "$SECRETS_UNDO"
  make_dir 700 root:root "$OPENED"
}

# fingerprint_of NUMBER: of one of this server's keys: SHA-256 in hex of the DER of its public half.
fingerprint_of() { openssl pkey -pubin -in "$SERVER_KEYS/$1/public.pem" -outform DER | sha256sum | cut -d ' ' -f 1; }

# sealed_of SLUG: what list.json says, lines of "SLUG SERVICE FILE FORMAT SHA256 NUMBER KEY".
sealed_of() {
  [ -e "$SITES/$1/secrets/list.json" ] || return 0
  jq -r --arg slug "$1" '.secrets[] | "\($slug) \(.service) \(.file) \(.format) \(.sha256) \(.number // "-") \(.key)"' "$SITES/$1/secrets/list.json"
}

# is_sealed SLUG SERVICE FILE: whether the server has this secret, open or locked.
is_sealed() { sealed_of "$1" | grep -q "^$1 $2 $3 "; }

# is_open SLUG SERVICE FILE SHA256: whether the open file is what was sealed in the file with this digest.
is_open() {
  read -r is_open_sealed _ is_open_mark 2>/dev/null <"$OPENED/$1/$2" || return 1
  [ "$is_open_sealed $is_open_mark" = "$4 $(mark_of "$1" "$2" "$3")" ]
}

# mark_of SLUG SERVICE FILE: see secrets_mark. The file itself is never read: its folder is the site's.
mark_of() { stat -c '_%Y-%i' "$SECRETS/$1/$2/$3" 2>/dev/null || true; }

# open_one SLUG SERVICE FILE FORMAT SHA256 NUMBER KEY: opens it in $WORK/open/<slug>/<service>/, where note is what to note once it is in its
# place, and opened its content, unless that is open already. passphrase_of says the key's passphrase.
open_one() {
  open_what="the secret $2/$3 of $1"
  open_folder=$WORK/open/$1/$2
  open_key=$SERVER_KEYS/$7
  [ -e "$open_key/public.pem" ] || die "$open_what needs key $7, which this server has not: run up"
  [ -e "$SITES/$1/secrets/$5" ] || die "$open_what is not on this server any more: run up"
  mkdir -p "$open_folder"
  take_sealed "$open_what" "$SITES/$1/secrets/$5" "$5" "$open_folder"
  case $4 in
  envelope)
    open_purpose=$(jq -nc --arg site "$1" --arg service "$2" --arg file "$3" --arg key "$(fingerprint_of "$7")" --argjson number "$6" \
      '{purpose: "site-secret", site: $site, service: $service, file: $file, key: $key, number: $number}')
    passphrase_of "$7" | open_envelope "$open_what" "$open_folder" "$open_key/private.pem" "$open_purpose"
    ;;
  older) passphrase_of "$7" | open_older "$open_what" "$open_folder" "$open_key/private.pem" ;;
  esac
  open_digest=$(sha256_of "$open_folder/opened")
  read -r _ open_before open_mark 2>/dev/null <"$OPENED/$1/$2" || open_before='' open_mark=''
  echo "$5 $open_digest" >"$open_folder/note"
  # The same content, sealed again: what runs with it goes on.
  if [ "$open_before $open_mark" = "$open_digest $(mark_of "$1" "$2" "$3")" ]; then rm "$open_folder/opened"; fi
}

# place_opened SLUG SERVICE FILE: gives what open_one opened its place, by one rename. The folder stays the same one, because mount
# namespaces of running services show it; it is the site's, so that nothing is ever written to a name in it.
place_opened() {
  make_dir 710 "root:$1" "$SECRETS/$1"
  make_dir 700 "$1:$1" "$SECRETS/$1/$2"
  chmod 400 "$WORK/open/$1/$2/opened"
  own "$1:$1" "$WORK/open/$1/$2/opened"
  mv -T "$WORK/open/$1/$2/opened" "$SECRETS/$1/$2/$3" || die "$SECRETS/$1/$2/$3 cannot be replaced: the site made it a folder"
}

# note_opened SLUG SERVICE FILE: from now on it counts as open.
note_opened() {
  make_dir 700 root:root "$OPENED/$1"
  echo "$(cat "$WORK/open/$1/$2/note") $(mark_of "$1" "$2" "$3")" >"$OPENED/$1/$2.new"
  mv "$OPENED/$1/$2.new" "$OPENED/$1/$2"
}

# in_parallel FUNCTION FILE: calls the function with the words of each line, on all cores at once. Returns 1 when one failed; the others are
# done all the same.
in_parallel() {
  parallel_count=$(nproc) parallel_pids='' parallel_failed=0 parallel=0
  while [ "$parallel" -lt "$parallel_count" ]; do
    awk -v count="$parallel_count" -v number="$parallel" 'NR % count == number' "$2" >"$2.$parallel"
    {
      parallel_code=0
      while read -r parallel_words; do
        # In the background, since `set -e` sleeps in what is tested. Each word is one of ours.
        # shellcheck disable=SC2086
        "$1" $parallel_words </dev/null &
        wait $! || parallel_code=1
      done <"$2.$parallel"
      exit "$parallel_code"
    } &
    parallel_pids="$parallel_pids $!"
    parallel=$((parallel + 1))
  done
  for parallel_pid in $parallel_pids; do wait "$parallel_pid" || parallel_failed=1; done
  return "$parallel_failed"
}

# prune_sealed SLUG: what the list does not name goes from the disk.
prune_sealed() {
  for prune_path in "$SITES/$1/secrets"/*; do
    case ${prune_path##*/} in list.json | '*') continue ;; esac
    sealed_of "$1" | grep -q " ${prune_path##*/} " || rm -f "$prune_path"
  done
}

# prune_opened SLUG: what no kept release reads goes from memory.
prune_opened() {
  [ -d "$SECRETS/$1" ] || return 0
  for prune_path in "$SECRETS/$1"/*/*; do is_read "$1" "$prune_path" || drop_opened "$1" "$prune_path"; done
  prune_empty "$1"
}

# is_read SLUG PATH: whether a kept release names this file.
is_read() { cat "$SITES/$1"/releases/*/services/*/data/secrets 2>/dev/null | grep -Fqx "${2#"$ROOT"}"; }

# drop_opened SLUG PATH: what lies in a folder of the site's goes, whatever the site made of it.
drop_opened() {
  if [ -d "$2" ] && [ ! -L "$2" ]; then remove_folder "$1" "$2"; else rm -f "$2"; fi
}

# prune_empty SLUG: folders without an open file go, and the notes of what was in them. The site's own folder stays: its cron looks into it.
prune_empty() {
  for prune_path in "$SECRETS/$1"/*; do
    if [ -d "$prune_path" ] && rmdir "$prune_path" 2>/dev/null; then rm -f "$OPENED/$1/${prune_path##*/}"; fi
  done
  rmdir "$OPENED/$1" 2>/dev/null || true
}

# forget_secrets SLUG: all of a site's secrets go, sealed and open. The list goes first: what it does not name is nobody's.
forget_secrets() {
  rm -rf "${SECRETS_UNDO:?}/$1"
  rm -f "$SITES/$1/secrets/list.json"
  rm -rf "$SITES/${1:?}/secrets"
  for forget_path in "$SECRETS/$1"/*; do remove_folder "$1" "$forget_path"; done
  rm -rf "${SECRETS:?}/$1" "${OPENED:?}/$1"
}
