# shellcheck shell=sh
# Written by chillbox-configure. What a person's shell on this server begins with.

# What somebody makes here is not for everybody.
umask 027
# A memory dump would lie on the disk with what the program knew.
# shellcheck disable=SC3045  # busybox has it
ulimit -c 0
# A forgotten shell ends after an hour.
readonly TMOUT=3600
export TMOUT
