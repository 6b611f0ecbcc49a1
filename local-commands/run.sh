#!/bin/sh
# Runs one of chillbox's TypeScript programs with an allow-list environment: sh local-commands/run.sh SCRIPT [WORD...]
# Whoever starts it (Pulumi's command plugin) may have secrets in its own. Only names that are set are passed on.
set -eu

# No value goes over a command line, such as that of `env -i NAME=VALUE`, because everybody on the machine can read those: a proxy's
# address may have a password. A line within a value can look like a name, too: unsetting it does no harm.
for name in $(env | LC_ALL=C sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p'); do
  case $name in
    PATH | HOME | USER | LOGNAME | LANG | LC_ALL | TMPDIR | XDG_CACHE_HOME | XDG_RUNTIME_DIR | \
      SSL_CERT_FILE | NODE_EXTRA_CA_CERTS | CHILLBOX_HOME | CHILLBOX_PORT_BASE | CHILLBOX_ADDRESS_RANGE | \
      CHILLBOX_DROPLET_DRIVER | ALPINE_MIRROR | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | PIP_*)
      eval "[ -n \"\${$name:-}\" ]" || unset -v "$name"
      ;;
    *) unset -v "$name" ;;
  esac
done
unset -v name
# Pulumi's own, 077, is for its state; images and artifacts are made as people know it.
umask 022

exec node --import ./toolchain/stripped-types.mjs "$@"
