# shellcheck shell=sh
# Downloads from the stack's buckets. The key for them comes with each command that needs it, as {"spaces": {"endpoint", "region", "accessKey",
# "secretKey"}} in its input, and no disk ever has it. Whoever loads this has a function spaces_input, which prints that input.

# fetch BUCKET KEY SIZE SHA256 FILE WHAT: size in bytes; another object than this one ends the script.
fetch() {
  fetch_config=$(spaces_input | jq -er --arg place "$1/$2" '
    .spaces | select([.endpoint, .region, .accessKey, .secretKey] | all(type == "string" and (test("[\"\\\\\n ]") | not)))
    | select(.endpoint | test("^https?://[a-z0-9.-]+(:[0-9]+)?$"))
    | "url = \"\(.endpoint)/\($place)\"\nuser = \"\(.accessKey):\(.secretKey)\"\naws-sigv4 = \"aws:amz:\(.region):s3\""' 2>/dev/null) ||
    die "standard input has no key for the artifact bucket in \"spaces\""
  # By standard input, since a command line or an environment could be seen.
  printf '%s\n' "$fetch_config" | curl --config - --fail --silent --show-error --connect-timeout 10 --max-time 600 --retry 4 --retry-connrefused \
    --max-filesize "$3" --output "$5" 2>"$5.curl" ||
    die "cannot download $1/$2: $(tail -n 1 "$5.curl")"
  rm -f "$5.curl"
  [ "$(stat -c %s "$5")" = "$3" ] || die "$6 has not the size that the manifest says"
  [ "$(sha256_of "$5")" = "$4" ] || die "$6 has not the SHA-256 that the manifest says"
}
