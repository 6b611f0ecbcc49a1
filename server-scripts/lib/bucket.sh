# shellcheck shell=sh
# Downloads from the stack's buckets. The key is in a file that only root reads, so that no process list shows it.
# shellcheck disable=SC2154  # ETC comes from chillbox.sh

# fetch BUCKET KEY SIZE SHA256 FILE WHAT: size in bytes; another object than this one ends the script.
fetch() {
  [ -e "$ETC/spaces.curlrc" ] || die "this server has no key for the artifact bucket: run pulumi up, which configures it"
  curl --config "$ETC/spaces.curlrc" --fail --silent --show-error --connect-timeout 10 --max-time 600 --retry 4 --retry-connrefused \
    --max-filesize "$3" --output "$5" "$(cat "$ETC/spaces.endpoint")/$1/$2" 2>"$5.curl" ||
    die "cannot download $1/$2: $(tail -n 1 "$5.curl")"
  rm -f "$5.curl"
  [ "$(stat -c %s "$5")" = "$3" ] || die "$6 has not the size that the manifest says"
  [ "$(sha256_of "$5")" = "$4" ] || die "$6 has not the SHA-256 that the manifest says"
}
