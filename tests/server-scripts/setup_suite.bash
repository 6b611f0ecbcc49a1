# bats calls this once, before the first file: the scripts are to run under the server image's own shell.
setup_suite() {
  if [ -z "${CHILLBOX_ASH-}" ]; then
    if ! CHILLBOX_ASH=$(node --disable-warning=ExperimentalWarning "$BATS_TEST_DIRNAME/ash.ts"); then
      echo "# the image's shell is not to be had: this machine's own is taken" >&3
      CHILLBOX_ASH=
    fi
  fi
  export CHILLBOX_ASH
}
