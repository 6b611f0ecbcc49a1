#!/usr/bin/env bats
# Every command explains itself and refuses what it does not know.

load helper

commands() { for path in "$scripts"/chillbox-*; do basename "$path"; done; }

@test "every command prints its help on standard output" {
  for name in $(commands); do
    run script "$name" --help
    echo "$name: $status: $output"
    [ "$status" -eq 0 ]
    [[ $output == *Usage:*"$name"* ]]
    [[ $output != *'#!'* ]]
  done
}

@test "every command refuses an unknown option, names it, and points to its help" {
  for name in $(commands); do
    run script "$name" --no-such-option
    echo "$name: $status: $output"
    [ "$status" -eq 2 ]
    [ "${#lines[@]}" -eq 1 ]
    [[ $output == "$name: fatal: "*"$name --help" ]]
  done
}

@test "commands that need a word say which" {
  refuses 'say install, rollback, remove, purge, list or log' script chillbox-site
  refuses 'say adopt or confirm' script chillbox-host-key
  refuses 'say prepare, walls or start' script chillbox-tree
  refuses 'say install SCRIPTS WHEELS' script chillbox-scripts install
  refuses 'say SLUG SOURCE VENV' script chillbox-venv hello
}

@test "commands that change the server need root" {
  unset ROOT
  fake id 'echo 1000'
  for name in chillbox-enrol chillbox-configure chillbox-ports chillbox-site-list; do
    refuses "this needs root: doas $name" script "$name"
  done
}
