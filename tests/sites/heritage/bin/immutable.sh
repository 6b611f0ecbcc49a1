#!/usr/bin/env sh
# Usage: immutable.sh SLUGNAME ARCHIVE HANDLER...
# Packs the files of each immutable service under the hash that its own Makefile prints.
set -o errexit
slugname=$1
archive=$2
shift 2
tmpdir=$(mktemp -d)
for handler in "$@"; do
  hash=$(make --silent --directory="$handler" --no-print-directory inspect.HASH)
  mkdir -p "$tmpdir/$slugname/$handler/$hash"
  printf '%s' "$hash" >"$tmpdir/$slugname/$handler/hash.txt"
  cp -R "$handler/src/." "$tmpdir/$slugname/$handler/$hash/"
done
mkdir -p "$(dirname "$archive")"
tar c -C "$tmpdir" -h -z -f "$archive" "$slugname"
rm -rf "$tmpdir"
