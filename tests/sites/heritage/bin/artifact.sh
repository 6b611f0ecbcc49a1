#!/usr/bin/env sh
# Usage: artifact.sh SLUGNAME ARCHIVE NAME[:HANDLER]...
# Packs what each service's MANIFEST lists, the nginx files and Redis' users.
set -o errexit
slugname=$1
archive=$2
shift 2
tmpdir=$(mktemp -d)
for service in "$@"; do
  name=${service%:*}
  handler=${service#*:}
  mkdir -p "$tmpdir/$slugname/$name"
  while read -r item; do
    mkdir -p "$(dirname "$tmpdir/$slugname/$name/$item")"
    cp -R "$handler/$item" "$(dirname "$tmpdir/$slugname/$name/$item")/"
  done <"$handler/MANIFEST"
done
mkdir -p "$tmpdir/$slugname/nginx"
cp -R nginx/root nginx/templates "$tmpdir/$slugname/nginx/"
cp -R redis "$tmpdir/$slugname/"
mkdir -p "$(dirname "$archive")"
tar c -C "$tmpdir" -h -z -f "$archive" "$slugname"
rm -rf "$tmpdir"
