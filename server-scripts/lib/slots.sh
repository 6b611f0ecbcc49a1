# shellcheck shell=sh
# How many installs run at a time: as many as this server has cores. Each builds and starts programs; more at once would only be slower,
# and late to get ready.
# shellcheck disable=SC2154  # RUN comes from chillbox.sh

# take_slot: waits for a slot, however long that takes. The kernel gives it back when this script ends, however it ends.
take_slot() {
  mkdir -p "$RUN/lock"
  slot_count=$(nproc) slot_tries=0
  # The first in the line looks for a free slot, the others wait for the head of the line.
  exec 6>>"$RUN/lock/slots"
  until flock -n 6; do
    slot_pause
    if [ "$slot_tries" -gt 10 ]; then flock 6 && break; fi
  done
  until free_slot; do slot_pause; done
  exec 6>&-
}

free_slot() {
  slot=0
  while [ "$slot" -lt "$slot_count" ]; do
    exec 7>>"$RUN/lock/slot.$slot"
    if flock -n 7; then return 0; fi
    slot=$((slot + 1))
  done
  return 1
}

slot_pause() {
  slot_tries=$((slot_tries + 1))
  [ "$slot_tries" != 10 ] || log "waits for its turn: this server installs $slot_count sites at a time"
  sleep 0.3
}
