# shellcheck shell=sh
# The guard of a site that is being changed: a service of the tree that waits until the site's lock is free. Should the run that holds it
# be killed, or its connection be cut, the guard makes what runs be what the site's link `current` says; nobody has to run anything again.
# shellcheck disable=SC2154  # SERVICES, SCRIPTS, RUN come from chillbox.sh and tree.sh

# guard SLUG: from here on what runs of the site may differ from `current`.
guard() {
  # Done is done; what fails is tried again each second, but not for ever.
  # shellcheck disable=SC2016  # it is the script's own
  put_service "guard+$1" "#!/bin/sh
exec </dev/null 1<>$RUN/log/tree 2>&1
exec $SCRIPTS/current/chillbox-settle $1" '#!/bin/sh
[ "$1" != 0 ] || exit 125
exec s6-permafailon 60 5 1-255,SIGABRT,SIGKILL,SIGSEGV true'
  link_service "guard+$1"
}

# unguard SLUG: what runs is what `current` says.
unguard() { drop_service "guard+$1"; }
