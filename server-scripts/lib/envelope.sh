# shellcheck shell=sh
# Opening what was sealed for this server. It travels with chillbox-enrol, so that it needs nothing but lib/chillbox.sh.
# Everything happens in a private folder on tmpfs: sealed (the file as it came), then opened (its content), which is there only when all was
# right. The key's passphrase is the first line of standard input, empty for a key without one: no argument, environment or file has it.

# Bytes that a content may have at most: what is opened lies in memory.
OPENED_MOST=1048576

# take_sealed WHAT FILE SHA256 FOLDER: nobody can change the copy between the comparison and the opening, and no parser has seen it before.
take_sealed() {
  cp "$2" "$4/sealed"
  [ "$(sha256_of "$4/sealed")" = "$3" ] || die "$1 is not the one that was sealed for this server (its SHA-256 differs)"
}

# open_envelope WHAT FOLDER KEY PURPOSE <passphrase: PURPOSE is the JSON object that the header must have. openssl prints plain text even
# when the tag is wrong, and it authenticates no attribute: so its exit code comes first, then the header, and only then is the content's name.
open_envelope() {
  openssl cms -decrypt -binary -inform DER -in "$2/sealed" -inkey "$3" -passin fd:3 -out "$2/plain" 3<&0 </dev/null 2>/dev/null ||
    die "$1 cannot be opened with the key that was given"
  head -n 1 "$2/plain" >"$2/header"
  grep -q '^chillbox-envelope 1 {' "$2/header" || die "$1 has no chillbox-envelope 1 header"
  sed 's/^chillbox-envelope 1 //' "$2/header" | jq -Sc . >"$2/found" 2>/dev/null || die "the header of $1 is not JSON"
  echo "$4" | jq -Sc . >"$2/expected"
  cmp -s "$2/found" "$2/expected" || die "$1 was sealed for another purpose or server"
  tail -n +2 "$2/plain" >"$2/opened.new"
  rm "$2/plain"
  take_opened "$1" "$2"
}

# open_older WHAT FOLDER KEY <passphrase: the format of sites' own older tools. 512 bytes are a password under RSA-OAEP, the rest is what
# openssl enc made with it. Nothing in it is authenticated: only the digest says that it is the right one.
open_older() {
  head -c 512 "$2/sealed" >"$2/locked"
  tail -c +513 "$2/sealed" >"$2/rest"
  openssl pkeyutl -decrypt -inkey "$3" -passin fd:3 -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha512 -in "$2/locked" \
    -out "$2/password" 3<&0 </dev/null 2>/dev/null || die "$1 cannot be opened with the key that was given"
  openssl enc -d -aes-256-cbc -md sha512 -pbkdf2 -iter 313131 -pass "file:$2/password" -in "$2/rest" -out "$2/opened.new" 2>/dev/null ||
    die "$1 is damaged: its password does not open the rest of it"
  rm "$2/password"
  take_opened "$1" "$2"
}

take_opened() {
  opened_size=$(stat -c %s "$2/opened.new")
  [ "$opened_size" -gt 0 ] || die "$1 is empty"
  [ "$opened_size" -le "$OPENED_MOST" ] || die "$1 has more than $OPENED_MOST bytes in it"
  mv "$2/opened.new" "$2/opened"
}
