#!/usr/bin/env bats
# chillbox-remove-tree: everything of a folder goes, and nothing that a link in it leads to.

load helper

prepare() {
  victim=$ROOT/victim
  mkdir -p "$victim/folder" "$ROOT/tree"
  touch "$victim/file" "$victim/folder/file"
}

remove() { script chillbox-remove-tree "$@"; }

@test "it removes folders, files, links and fifos, whatever their names and modes" {
  mkdir -p "$ROOT/tree/a/b c/-d" "$ROOT/tree/.hidden" "$ROOT/tree/none"
  touch "$ROOT/tree/a/b c/-d/"$'new\nline' "$ROOT/tree/.hidden/file" "$ROOT/tree/none/file" "$ROOT/alone"
  mkfifo "$ROOT/tree/fifo"
  chmod 0 "$ROOT/tree/none/file"
  remove "$ROOT/tree" "$ROOT/alone" "$ROOT/missing" "$ROOT/missing/below"
  [ ! -e "$ROOT/tree" ]
  [ ! -e "$ROOT/alone" ]
}

@test "what a link leads to stays" {
  ln -s "$victim" "$ROOT/tree/link"
  mkdir "$ROOT/tree/deep"
  ln -s "$victim/folder" "$ROOT/tree/deep/link"
  ln -s "$victim" "$ROOT/outer"
  remove "$ROOT/tree" "$ROOT/outer"
  [ ! -e "$ROOT/tree" ]
  [ ! -L "$ROOT/outer" ]
  [ -e "$victim/file" ]
  [ -e "$victim/folder/file" ]
}

@test "a tree that is too deep for a path goes, too" {
  python3 - "$ROOT/tree" <<'PYTHON'
import os, sys
os.chdir(sys.argv[1])
for _ in range(3000):
    os.mkdir("d")
    os.chdir("d")
open("file", "w").close()
PYTHON
  remove "$ROOT/tree"
  [ ! -e "$ROOT/tree" ]
}

# Just between the look and the step into the folder, every time, at both places where it steps into one.
@test "somebody who swaps a folder for a link meanwhile leads nobody away" {
  for place in "$ROOT/tree" "$ROOT/tree/inner"; do
    mkdir -p "$ROOT/tree/inner/folder"
    python3 -B - "$scripts/chillbox-remove-tree" "$ROOT/tree" "$place" "$victim" <<'PYTHON' || true
import os, runpy, sys
script, tree, place, victim = sys.argv[1:]
program = runpy.run_path(script)
look = program["unlinked"]

def swapping(folder, name):
    gone = look(folder, name)
    if not gone and name == os.path.basename(place) and not os.path.islink(place):
        os.rename(place, place + ".away")
        os.symlink(victim, place)
    return gone

program["remove"].__globals__["unlinked"] = swapping
program["remove"](tree)
PYTHON
    [ -e "$victim/file" ]
    [ -e "$victim/folder/file" ]
    remove "$ROOT/tree" "$ROOT/tree.away"
    [ ! -e "$ROOT/tree" ]
  done
}

@test "it names what it cannot remove" {
  refuses 'say PATH' remove
  mkdir -p "$ROOT/tree/kept"
  mount -t tmpfs none "$ROOT/tree/kept" 2>/dev/null || skip 'no mounts here'
  run remove "$ROOT/tree" "$ROOT/victim"
  umount "$ROOT/tree/kept"
  [ "$status" -eq 1 ]
  [[ $output == *"$ROOT/tree cannot be removed: "*busy* ]]
  [ ! -e "$victim" ]
}
