#!/usr/bin/env bats
# chillbox-enrol and chillbox-host-key: envelopes, keys, and being killed.

load helper

prepare() {
  run_dir=$ROOT/run/chillbox
  mkdir -p "$run_dir" "$ROOT/etc/chillbox"
  # One key for all tests: it takes seconds to make.
  key=$BATS_FILE_TMPDIR/key.pem
  [ -e "$key" ] || openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$key" 2>/dev/null ||
    openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$key" 2>/dev/null
  [ -e "$BATS_FILE_TMPDIR/cert.pem" ] || openssl req -x509 -key "$key" -subj /CN=x -days 1 -out "$BATS_FILE_TMPDIR/cert.pem" 2>/dev/null
  seal 'chillbox-envelope 1 {"purpose":"first-boot","server":"box","number":1}' 'echo ran >>"$ROOT/ran"'
}

# seal LINE...: puts an envelope with these lines where user-data does, and the matching input into $input.
seal() {
  printf '%s\n' "$@" |
    openssl cms -encrypt -binary -aes-256-gcm -outform DER -recip "$BATS_FILE_TMPDIR/cert.pem" -keyopt rsa_padding_mode:oaep \
      -keyopt rsa_oaep_md:sha256 -out "$run_dir/envelope.der"
  input=$BATS_TEST_TMPDIR/input.json
  jq -n --rawfile key "$key" --arg sha "$(sha256sum "$run_dir/envelope.der" | cut -d ' ' -f 1)" \
    '{envelopeKey: $key, envelopeSha256: $sha, purpose: {number: 1, purpose: "first-boot", server: "box"}}' >"$input"
}

enrol() { script chillbox-enrol <"$input"; }

@test "runs what is in the envelope once, deletes it, and makes a host key" {
  run enrol
  [ "$status" -eq 0 ]
  [ "$(echo "${lines[-1]}" | jq -r .changed)" = true ]
  [ "$(cat "$ROOT/ran")" = ran ]
  [ ! -e "$run_dir/envelope.der" ]
  [ "$(stat -c %a "$ROOT/etc/chillbox/host-key/ssh_host_ed25519_key")" = 600 ]
  first=$(echo "${lines[-1]}" | jq -r .hostKey)
  run enrol
  [ "$status" -eq 0 ]
  [ "$(echo "${lines[-1]}" | jq -r .changed)" = false ]
  [ "$(echo "${lines[-1]}" | jq -r .hostKey)" = "$first" ]
  [ "$(cat "$ROOT/ran")" = ran ]
}

@test "leaves no plain text and no key behind, in no case" {
  run enrol
  [ -z "$(ls -d "$run_dir"/work.* 2>/dev/null)" ]
  seal 'chillbox-envelope 1 {"purpose":"first-boot","server":"box","number":1}' 'exit 3'
  rm "$ROOT/etc/chillbox/first-boot"
  refuses 'the first-boot script failed with 3' enrol
  [ -z "$(ls -d "$run_dir"/work.* 2>/dev/null)" ]
}

@test "refuses an envelope whose digest differs before openssl sees it" {
  fake openssl 'echo seen >>"$ROOT/seen"; exit 1'
  printf x >>"$run_dir/envelope.der"
  refuses 'is not the one that was sealed for this server' enrol
  [ ! -e "$ROOT/seen" ]
  [ ! -e "$ROOT/ran" ]
}

@test "refuses an envelope for another purpose, server or number, and one without a header" {
  for header in '{"purpose":"secrets","server":"box","number":1}' '{"purpose":"first-boot","server":"other","number":1}' \
    '{"purpose":"first-boot","server":"box","number":2}'; do
    seal "chillbox-envelope 1 $header" 'echo ran >>"$ROOT/ran"'
    refuses 'was sealed for another purpose or server' enrol
  done
  seal 'echo ran >>"$ROOT/ran"'
  refuses 'has no chillbox-envelope 1 header' enrol
  [ ! -e "$ROOT/ran" ]
}

@test "refuses a key that does not open it" {
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$BATS_TEST_TMPDIR/other.pem" 2>/dev/null
  jq --rawfile key "$BATS_TEST_TMPDIR/other.pem" '.envelopeKey = $key' "$input" >"$input.other"
  input=$input.other
  refuses 'cannot be opened with the key that was given' enrol
  [ ! -e "$ROOT/ran" ]
}

@test "says what is missing" {
  rm "$run_dir/envelope.der"
  refuses 'there is no envelope' enrol
  echo nonsense >"$input"
  refuses 'standard input is not a JSON object' enrol
  echo '{}' >"$input"
  refuses 'the input has no envelopeSha256' enrol
}

@test "refuses a second envelope on a server that is enrolled" {
  enrol
  seal 'chillbox-envelope 1 {"purpose":"first-boot","server":"box","number":1}' 'echo again >>"$ROOT/ran"'
  refuses 'was enrolled with another envelope' enrol
  [ "$(cat "$ROOT/ran")" = ran ]
}

@test "goes on after a kill in the first boot" {
  seal 'chillbox-envelope 1 {"purpose":"first-boot","server":"box","number":1}' '[ -e "$ROOT/again" ] || { : >"$ROOT/again"; kill -KILL $PPID; }'
  run enrol
  [ "$status" -ne 0 ]
  run enrol
  [ "$status" -eq 0 ]
  [ -e "$ROOT/etc/chillbox/first-boot" ]
}

@test "adopt takes only this server's own key into use, and reloads sshd once" {
  enrol
  fake rc-service 'echo "$@" >>"$ROOT/rc"'
  mkdir -p "$run_dir/host-key"
  echo '{"hostKey": "ssh-ed25519 AAAAother"}' >"$input"
  refuses "is not this server's" adopt
  [ ! -e "$ROOT/etc/chillbox/host-key/current" ]
  jq -n --arg key "$(cat "$ROOT/etc/chillbox/host-key/ssh_host_ed25519_key.pub")" '{hostKey: $key}' >"$input"
  [ "$(adopt)" = '{"changed": true}' ]
  [ "$(cat "$ROOT/rc")" = '--quiet sshd reload' ]
  script chillbox-host-key confirm
  [ ! -e "$run_dir/host-key" ]
  [ "$(adopt)" = '{"changed": false}' ]
  [ "$(script chillbox-host-key confirm)" = '{"changed": false}' ]
  [ "$(wc -l <"$ROOT/rc")" -eq 1 ]
}

@test "confirm refuses to forget the provisional key while it is in use" {
  mkdir -p "$run_dir/host-key"
  refuses 'run chillbox-host-key adopt first' script chillbox-host-key confirm
  [ -e "$run_dir/host-key" ]
}

adopt() { script chillbox-host-key adopt <"$input"; }
