"""Works until it is asked to end, and then ends what it is doing.

chillbox starts it with the `run-cmd` of `hello.site.json`. What it prints goes to its log: `npx chillbox logs hello worker`.
"""

import os
import signal
import threading

ENDING = threading.Event()
EVERY_SECONDS = 60


def main():
    # Whoever deploys the next version waits up to 40 seconds for this one to end.
    signal.signal(signal.SIGTERM, lambda *_: ENDING.set())
    number = os.environ.get("CHILLBOX_WORKER", "1")
    while True:
        print(f"worker {number} does a piece of work", flush=True)
        if ENDING.wait(EVERY_SECONDS):
            break


if __name__ == "__main__":
    main()
