#!/bin/sh
# Runs one of chillbox's TypeScript programs with an allow-list environment: sh local-commands/run.sh SCRIPT [WORD...]
# Whoever starts it (Pulumi's command plugin) may have secrets in its own. Only names that are set are passed on.
set -eu

exec env -i \
  ${PATH:+"PATH=$PATH"} \
  ${HOME:+"HOME=$HOME"} \
  ${USER:+"USER=$USER"} \
  ${LOGNAME:+"LOGNAME=$LOGNAME"} \
  ${LANG:+"LANG=$LANG"} \
  ${LC_ALL:+"LC_ALL=$LC_ALL"} \
  ${TMPDIR:+"TMPDIR=$TMPDIR"} \
  ${XDG_CACHE_HOME:+"XDG_CACHE_HOME=$XDG_CACHE_HOME"} \
  ${XDG_RUNTIME_DIR:+"XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR"} \
  ${SSL_CERT_FILE:+"SSL_CERT_FILE=$SSL_CERT_FILE"} \
  ${NODE_EXTRA_CA_CERTS:+"NODE_EXTRA_CA_CERTS=$NODE_EXTRA_CA_CERTS"} \
  ${CHILLBOX_HOME:+"CHILLBOX_HOME=$CHILLBOX_HOME"} \
  ${CHILLBOX_PORT_BASE:+"CHILLBOX_PORT_BASE=$CHILLBOX_PORT_BASE"} \
  ${CHILLBOX_ADDRESS_RANGE:+"CHILLBOX_ADDRESS_RANGE=$CHILLBOX_ADDRESS_RANGE"} \
  ${ALPINE_MIRROR:+"ALPINE_MIRROR=$ALPINE_MIRROR"} \
  ${HTTP_PROXY:+"HTTP_PROXY=$HTTP_PROXY"} \
  ${HTTPS_PROXY:+"HTTPS_PROXY=$HTTPS_PROXY"} \
  ${NO_PROXY:+"NO_PROXY=$NO_PROXY"} \
  node "$@"
