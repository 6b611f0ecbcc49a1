"""Writes its number into a file, again and again."""

import os
import sys
import time


def main():
    if "--with-secrets" in sys.argv:
        open(os.environ["SECRETS_CONFIG"], encoding="utf-8").close()
    pause = float(sys.argv[sys.argv.index("--every") + 1])
    while True:
        with open(os.environ["WORKER_FILE"], "a", encoding="utf-8") as file:
            file.write(os.environ["CHILLBOX_WORKER"] + "\n")
        time.sleep(pause)
