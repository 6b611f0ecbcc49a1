#!/bin/sh
# Opens many sealed files by the server's own functions, in the shell that runs this.
#
# Usage: open-all LIBRARIES KEY FOLDER
#   FOLDER has a folder for each case: sealed, sha256 (what it should be), format, purpose. Where a case has `opened` afterwards, it was opened.
#
# Prints lines of "CASE opened SHA256" or "CASE refused WHY".

# shellcheck source=/dev/null
. "$1/chillbox.sh"
# shellcheck source=/dev/null
. "$1/envelope.sh"
key=$2

open_case() {
  take_sealed 'the secret' "$1/sealed" "$(cat "$1/sha256")" "$1/work"
  case $(cat "$1/format") in
  envelope) echo | open_envelope 'the secret' "$1/work" "$key" "$(cat "$1/purpose")" ;;
  older) echo | open_older 'the secret' "$1/work" "$key" ;;
  esac
}

for folder in "$3"/*; do
  mkdir "$folder/work"
  # In the background, since `set -e` sleeps in what is tested.
  open_case "$folder" >"$folder/said" 2>&1 </dev/null &
  if wait $!; then
    [ -e "$folder/work/opened" ] || echo "${folder##*/} refused without a word"
    echo "${folder##*/} opened $(sha256_of "$folder/work/opened")"
  elif [ -e "$folder/work/opened" ]; then
    echo "${folder##*/} opened and refused"
  else
    echo "${folder##*/} refused $(tail -n 1 "$folder/said")"
  fi
done
