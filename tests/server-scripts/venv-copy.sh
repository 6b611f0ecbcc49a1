#!/bin/sh
# Runs on a test server, as root, in a folder with a folder for each case, which has the folders "earlier" and "next": what a service's folder
# was and is. For each it makes the environment of "earlier" (or takes that of the case that the file "built" names) and lets
# chillbox-venv-copy make that of "next" out of it; when that says that it could, pip makes one too, and the two are compared.
#
# Usage: venv-copy SLUG <python program that compares two environments
#
# Prints a line of JSON for each case: {"name", "copied": whether it could, "said": what it said, "differs": how it differs from pip's}

slug=$1
venvs=/var/lib/chillbox/sites/$slug/venvs
scripts=/usr/local/lib/chillbox/current
cat >../compare.py
# The name of the environment of a folder.
made_of() { (cd "$1" && find . -type f -exec sha256sum {} + -o -type l -print | sort) | sha256sum | cut -c 1-16; }
for case in */; do
  case=${case%/}
  built=$case
  [ ! -e "$case/built" ] || built=$(cat "$case/built")
  earlier=$venvs/$(made_of "$built/earlier") copied=$venvs/$(made_of "$case/next") piped=$venvs/pppppppppppppppp
  [ -e "$earlier" ] || "$scripts/chillbox-venv" "$slug" "$PWD/$built/earlier" "$earlier" runtime || exit
  is_copied=true
  "$scripts/chillbox-venv-copy" "$slug" "$PWD/$case/next" "$copied" "$PWD/$case/earlier" "$earlier" runtime 2>../said || is_copied=false
  : >../differs
  if "$is_copied"; then
    "$scripts/chillbox-venv" "$slug" "$PWD/$case/next" "$piped" runtime || exit
    python3 -IS ../compare.py "$piped" "$copied" >../differs 2>&1
  elif [ -e "$copied" ] || [ -e "$copied.new" ]; then
    echo 'it left something behind' >../differs
  fi
  jq -nc --arg name "$case" --argjson copied "$is_copied" --rawfile said ../said --rawfile differs ../differs \
    '{name: $name, copied: $copied, said: $said, differs: $differs}'
  # What was copied may be copied on.
  rm -rf "$piped"
done
