# Runs server scripts without a server: below a root folder of its own, by the image's busybox, which CHILLBOX_ASH names (see ash.ts);
# setup_suite.bash sets it. No other shell will do.

scripts=$(cd "$BATS_TEST_DIRNAME/../../server-scripts" && pwd)

setup() {
  export ROOT=$BATS_TEST_TMPDIR/root
  mkdir -p "$ROOT/run" "$ROOT/etc" "$BATS_TEST_TMPDIR/bin"
  shell=("${CHILLBOX_ASH:?}")
  PATH=$BATS_TEST_TMPDIR/bin:$(dirname "$CHILLBOX_ASH"):$PATH
  if declare -F prepare >/dev/null; then prepare; fi
}

# fake NAME LINES: a program on PATH that does these lines instead.
fake() {
  printf '#!/bin/sh\n%s\n' "$2" >"$BATS_TEST_TMPDIR/bin/$1"
  chmod +x "$BATS_TEST_TMPDIR/bin/$1"
}

# script NAME ARGUMENT...: runs a server script with this shell; Python ones as they are.
script() {
  local name=$1
  shift
  case $(head -n 1 "$scripts/$name") in
  *python*) /usr/bin/python3 -IS "$scripts/$name" "$@" ;;
  *) "${shell[@]}" "$scripts/$name" "$@" ;;
  esac
}

# library LINES: runs these lines after the library is loaded.
library() {
  "${shell[@]}" -c ". '$scripts/lib/chillbox.sh'; $1" library
}

# refuses PATTERN COMMAND...: it fails, and the last line of what it says matches.
refuses() {
  local pattern=$1
  shift
  run "$@"
  if [ "$status" -eq 0 ] || ! [[ ${lines[-1]} =~ $pattern ]]; then
    echo "status $status, wanted a failure with: $pattern"
    echo "$output"
    return 1
  fi
}
