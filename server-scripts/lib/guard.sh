# shellcheck shell=sh
# The guard of a site that is being changed: a service of the tree that waits until the site's lock is free. Should the run that holds it
# be killed, or its connection be cut, the guard makes what runs be what the site's link `current` says; nobody has to run anything again.
# shellcheck disable=SC2154  # SERVICES, SCRIPTS, RUN come from chillbox.sh and tree.sh

# guard SLUG: from here on what runs of the site may differ from `current`.
guard() {
  if [ ! -e "$SERVICES/guard+$1" ]; then
    # A run that was killed here left its half.
    if [ -e "$SERVICES/guard+$1.new" ]; then rm -rf "${SERVICES:?}/guard+$1.new"; fi
    mkdir "$SERVICES/guard+$1.new"
    echo "#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
exec $SCRIPTS/current/chillbox-settle $1" >"$SERVICES/guard+$1.new/run"
    # Done is done; what fails is tried again each second, but not for ever.
    # shellcheck disable=SC2016  # it is the script's own
    echo '#!/bin/sh
[ "$1" != 0 ] || exit 125
exec s6-permafailon 60 5 1-255,SIGABRT,SIGKILL,SIGSEGV true' >"$SERVICES/guard+$1.new/finish"
    chmod 755 "$SERVICES/guard+$1.new/run" "$SERVICES/guard+$1.new/finish"
    mv "$SERVICES/guard+$1.new" "$SERVICES/guard+$1"
  fi
  link_service "guard+$1"
}

# unguard SLUG: what runs is what `current` says.
unguard() { drop_service "guard+$1"; }
