# bats calls this once, before the first file: the scripts are to run under the server image's own shell.
setup_suite() {
  if [ -z "${CHILLBOX_ASH-}" ]; then
    if ! CHILLBOX_ASH=$(node --disable-warning=ExperimentalWarning "$BATS_TEST_DIRNAME/ash.ts"); then
      echo "# the server image's shell is not to be had: the tests would say nothing about the server" >&3
      return 1
    fi
  fi
  export CHILLBOX_ASH
}
