# shellcheck shell=sh
# The guard of a site that is being changed: a service of the tree that waits until the site's lock is free. Should the run that holds it
# be killed, or its connection be cut, the guard makes what runs be what the site's link `current` says; nobody has to run anything again.
# shellcheck disable=SC2154  # SERVICES, SCRIPTS, RUN come from chillbox.sh and tree.sh

# guard SLUG: from here on what runs of the site may differ from `current`.
guard() {
  if [ ! -e "$SERVICES/guard+$1" ]; then
    # A run that was killed here left its half.
    rm -rf "${SERVICES:?}/guard+$1.new"
    mkdir "$SERVICES/guard+$1.new"
    cat >"$SERVICES/guard+$1.new/run" <<GUARD
#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
exec $SCRIPTS/current/chillbox-settle $1
GUARD
    # Done is done; what fails is tried again each second, but not for ever.
    cat >"$SERVICES/guard+$1.new/finish" <<'GUARD'
#!/bin/sh
[ "$1" != 0 ] || exit 125
exec s6-permafailon 60 5 1-255,SIGABRT,SIGKILL,SIGSEGV true
GUARD
    chmod 755 "$SERVICES/guard+$1.new/run" "$SERVICES/guard+$1.new/finish"
    mv "$SERVICES/guard+$1.new" "$SERVICES/guard+$1"
  fi
  link_service "guard+$1"
}

# unguard SLUG: what runs is what `current` says.
unguard() { drop_service "guard+$1"; }
